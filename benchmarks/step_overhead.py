"""Time of one training step: what each library's loop adds to a plain tensor-slicing one.

    python benchmarks/environments.py torch    # once: the peers' environment
    python benchmarks/step_overhead.py         # `--quick` for a first look

Every figure is a ratio to the plain loop (permutation, slice, forward, loss, backward, Adam), which
is timed again beside each measurement, in the same process (for traintime in the process before),
with as many threads. Contenders take turns; medians and spread are over these rounds. One thread by
default: overhead is what one thread of Python does, and more would time the machine's neighbours.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

import contenders
import measured_on
import processes
from contenders import PLAIN_SLICING, TRAINTIME, Contender
from traintime.ledger.paths import cache_folder

WORK = "mlp:64,mlp:256,lenet:64,lenet:256"
NUM_SAMPLES = 60_000
MIN_TRAINTIME_STEPS = 900


@dataclass(frozen=True)
class Sample:
    """One timing of one contender.

    Args:
        contender: Its name.
        work: Network and batch size, such as "mlp:64".
        repeat: Round of the measurement.
        step_s: Seconds per step.
        reference_s: Seconds per step of the plain loop beside it.
        cores_used_by_others: What else the machine did meanwhile, on average.
    """

    contender: str
    work: str
    repeat: int
    step_s: float
    reference_s: float
    cores_used_by_others: float


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Args:
        work: Networks and batch sizes, comma-separated.
        repeats: Rounds.
        num_steps: Timed steps of a chunk.
        threads: Threads of torch.
        timeout_s: Seconds for one process.
    """

    work: str
    repeats: int
    num_steps: int
    threads: int
    timeout_s: float


def main() -> None:
    """Measure what the command line asks for, print a table and write the result."""
    given = _arguments()
    settings = Settings(
        given.work,
        2 if given.quick else given.repeats,
        100 if given.quick else given.steps,
        given.threads,
        given.timeout,
    )
    taking_part = contenders.chosen(contenders.STEP_OVERHEAD, given.contenders)
    able = [contender for contender in taking_part if not contender.why_not()]
    facts = measured_on.measured_on(contender.environment for contender in able)
    console = Console()
    samples: list[Sample] = []
    rows: list[dict[str, Any]] = []
    problems = {c.name: c.why_not() for c in taking_part if c.why_not()}
    for repeat in range(settings.repeats):
        for contender in able:
            console.print(f"round {repeat + 1} of {settings.repeats}: {contender.label}")
            try:
                samples += _measure(contender, repeat, settings)
            except RuntimeError as error:
                problems[contender.name] = str(error)
        # Written after each round: the last one should not decide about all.
        rows = [row for c in taking_part for row in _rows(c, settings, samples)]
        result = {
            "benchmark": "step_overhead",
            "measured_on": facts,
            "settings": asdict(settings) | {"repeats": repeat + 1},
            "rows": rows,
            "problems": problems,
            "samples": [asdict(sample) for sample in samples],
        }
        measured_on.write(given.out, result)
    console.print(_table(taking_part, settings, rows, problems))
    others = median(sample.cores_used_by_others for sample in samples) if samples else 0.0
    console.print(measured_on.in_words(facts, others), highlight=False)
    console.print(f"Written to {given.out}", highlight=False)


def _measure(contender: Contender, repeat: int, settings: Settings) -> list[Sample]:
    if contender is TRAINTIME:
        return _measure_traintime(repeat, settings)
    times, others = _probe(contender, settings.work, settings)
    return [
        Sample(contender.name, work, repeat, time["step_s"], time["reference_s"], others)
        for work, time in times.items()
    ]


def _measure_traintime(repeat: int, settings: Settings) -> list[Sample]:
    samples = []
    for work in settings.work.split(","):
        times, others = _probe(PLAIN_SLICING, work, settings)
        model, batch_size = work.split(":")
        step_s = traintime_step_time(model, int(batch_size), settings)
        reference_s = times[work]["step_s"]
        samples.append(Sample(TRAINTIME.name, work, repeat, step_s, reference_s, others))
    return samples


def traintime_step_time(model: str, batch_size: int, settings: Settings) -> float:
    """Return traintime's seconds per step with clock, metrics, logging and checkpoints on.

    The arithmetic is the reference's (fp32, native convolutions, Adam at a constant rate), so that
    the difference is the loop alone.

    It is the mean over the whole training, checkpoints included, one a second at least.

    Raises:
        RuntimeError: The command failed.
    """
    epochs = -(-MIN_TRAINTIME_STEPS * batch_size // NUM_SAMPLES)
    recipe = [
        *("data=fashion-mnist", f"model={model}", f"batch_size={batch_size}", f"epochs={epochs}"),
        *("optimizer=adam", "lr=0.001", "beta2=0.999", "schedule=constant", "warmup=0", "seed=0"),
        *("precision=fp32", "memory_format=contiguous", "convolution=native", "validate_on=test"),
        "checkpoint_every_s=1",
    ]
    command = TRAINTIME.command("train", *recipe, "--json")
    outcome = _finished(command, settings).outcome
    return (outcome["seconds"]["train"] + outcome["seconds"]["checkpoint"]) / outcome["steps"]


def _probe(
    contender: Contender, work: str, settings: Settings
) -> tuple[dict[str, dict[str, float]], float]:
    command = contender.command(
        *("--work", work, "--steps", str(settings.num_steps)),
        *("--data-folder", str(cache_folder() / "data")),
    )
    finished = _finished(command, settings)
    return finished.outcome["times"], finished.cores_used_by_others


def _finished(command: list[str], settings: Settings) -> processes.Finished:
    finished = processes.run(command, settings.timeout_s, settings.threads)
    if finished.problem:
        raise RuntimeError(finished.problem)
    return finished


def _rows(contender: Contender, settings: Settings, samples: list[Sample]) -> list[dict[str, Any]]:
    rows = []
    for work in settings.work.split(","):
        here = [s for s in samples if (s.contender, s.work) == (contender.name, work)]
        if not here:
            continue
        ratios = sorted(sample.step_s / sample.reference_s for sample in here)
        rows.append(
            {
                "contender": contender.name,
                "work": work,
                "n": len(here),
                "step_s": median(sample.step_s for sample in here),
                "reference_s": median(sample.reference_s for sample in here),
                "ratio": median(ratios),
                "ratio_min": ratios[0],
                "ratio_max": ratios[-1],
            }
        )
    return rows


def _table(
    taking_part: tuple[Contender, ...],
    settings: Settings,
    rows: list[dict[str, Any]],
    problems: dict[str, str],
) -> Table:
    works = settings.work.split(",")
    drawn = Table(
        title=f"Step time over a plain slicing loop's, median (min-max) of {settings.repeats} "
        f"rounds, {settings.threads} threads",
        title_justify="left",
    )
    drawn.add_column("")
    for work in works:
        drawn.add_column(work, justify="right")
    cells = {(row["contender"], row["work"]): _cell(row) for row in rows}
    for contender in taking_part:
        shown = [cells.get((contender.name, work), "–") for work in works]
        if contender.name in problems and "–" in shown:
            shown = [problems[contender.name], *[""] * (len(works) - 1)]
        drawn.add_row(contender.label, *shown)
    return drawn


def _cell(row: dict[str, Any]) -> str:
    spread = f"({row['ratio_min']:.2f}-{row['ratio_max']:.2f})"
    return f"{row['ratio']:.2f} {spread}\n{row['step_s'] * 1e6:.0f} µs"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join(contender.name for contender in contenders.STEP_OVERHEAD)
    parser.add_argument("--work", default=WORK, help=f"model:batch size, ... (default: {WORK})")
    parser.add_argument("--contenders", default="all", help=f"all, or some of: {names}")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--steps", type=int, default=300, help="timed steps of a chunk")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one process")
    parser.add_argument("--quick", action="store_true", help="two rounds of 100 steps")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "step_overhead.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
