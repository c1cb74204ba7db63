"""Training steps of the networks of `unseen_models.py` on this CPU: the truth forecasts must meet.

    python benchmarks/cpu_models.py                    # 80 cases, five to six minutes
    python benchmarks/cpu_models.py --only nanogpt     # one model anew, the others as they were
    python benchmarks/cpu_models.py --budget 6.5       # longer epochs
    python benchmarks/cpu_models.py --more             # another hour beside those measured before

Each model is trained in fp32 and under bf16 autocast at two batch sizes, every case in a process of
its own: forked after the imports, so that its memory is its own. A step is forward, loss, backward,
optimizer and zero_grad on one batch that lies ready. What the processor sustains is measured right
before, as `traintime machine` does: shared ones change within minutes. The first ten steps are kept
apart; then steps are timed one by one; then three epochs of equally many steps are timed as wholes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import multiprocessing
import os
import resource
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import torch

# Making an optimizer imports this: two seconds that belong to no step.
import torch._dynamo
from rich.console import Console

import measured_on
from traintime.forecast.processor_probes import measure_processor
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.processor import ProcessorRates, typical
from unseen_models import MODELS, Named, training_step

FIRST_STEPS = 10
EPOCHS = 3
LOOKS = 3
"""At the processor's rates before a case."""
LEAST_STEPS = 20
LONGEST_S = 2.0
POLL_S = 0.005
PRECISIONS = ("fp32", "bf16")
TIMEOUT_S = 120.0
WARM = "warm"


@dataclass(frozen=True)
class Case:
    """One way to train a model."""

    model: Named
    precision: str
    batch_size: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the others."""
        return self.model.name, self.precision, self.batch_size


@dataclass(frozen=True)
class Measured:
    """What a case took.

    Args:
        model: Name in `unseen_models.MODELS`.
        family: The model's.
        precision: "fp32", or "bf16" for autocast with fp32 weights.
        batch_size: Samples of a step.
        optimizer: The model's.
        threads: Of torch.
        first_steps_s: Each of the first ten, which warm caches and allocators.
        num_steps: Counted after those.
        step_median_s: Median of them.
        step_mean_s: Their mean.
        step_low_s: First quartile.
        step_high_s: Third quartile.
        epoch_steps: Steps of an epoch.
        epochs_s: Each epoch as a whole.
        epoch_s: Their median.
        epoch_spread: (longest - shortest) / median.
        peak_memory_bytes: Anonymous memory (RSS without mapped files) above what there was after
            the imports: the highest of polls every 5 ms in the first steps, and of one at the end.
        peak_rss_bytes: ru_maxrss above RSS after the imports: with the pages of libraries in use.
        processor: What the processor sustained right before.
        cores_used_by_others: Cores that other processes kept busy meanwhile, on average.
        measured_at: When.
        hour: When measuring began: cases of one hour are of one state of the machine.
    """

    model: str
    family: str
    precision: str
    batch_size: int
    optimizer: str
    threads: int
    first_steps_s: tuple[float, ...]
    num_steps: int
    step_median_s: float
    step_mean_s: float
    step_low_s: float
    step_high_s: float
    epoch_steps: int
    epochs_s: tuple[float, ...]
    epoch_s: float
    epoch_spread: float
    peak_memory_bytes: int
    peak_rss_bytes: int
    processor: ProcessorRates
    cores_used_by_others: float
    measured_at: str
    hour: str


def main() -> None:
    """Measure case by case, writing as it goes."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime"])
    keep_freed_memory()
    console = Console(width=120)
    kept = _kept(given.out, facts) if given.only or given.more else []
    if given.only:
        kept = [row for row in kept if row.model != given.only]
    failures: list[str] = []
    cases, began_s = list(_cases(given.only)), perf_counter()
    for case in cases:
        try:
            kept.append(measure(case, given.budget, facts["date"]))
            line = _in_words(kept[-1])
        except RuntimeError as error:
            line = f"{' '.join(map(str, case.key))}: {error}"
            failures.append(line)
        console.print(f"{perf_counter() - began_s:5.0f} s  {line}", highlight=False)
        rows = [asdict(row) for row in kept]
        measured_on.write(given.out, {"measured_on": facts, "failures": failures, "cases": rows})
    if kept:
        others = statistics.median(row.cores_used_by_others for row in kept)
        console.print(measured_on.in_words(facts, others), highlight=False)
    sys.exit(1 if failures else 0)


def _cases(only: str | None) -> Iterator[Case]:
    for model in MODELS:
        if only in (None, model.name):
            for precision in PRECISIONS:
                for batch_size in model.batches:
                    yield Case(model, precision, batch_size)


def _kept(path: Path, facts: dict[str, Any]) -> list[Measured]:
    """Return what was measured before, if it was on such a machine with this torch."""
    if not path.exists():
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    if any(of(facts) != of(before["measured_on"]) for of in (_cpu, _torch)):
        return []
    rates = [ProcessorRates(**row.pop("processor")) for row in before["cases"]]
    return [Measured(**row, processor=of) for row, of in zip(before["cases"], rates, strict=True)]


def _cpu(facts: dict[str, Any]) -> str:
    return facts["cpu_model"]


def _torch(facts: dict[str, Any]) -> str:
    return facts["packages"]["traintime"]["torch"]


def measure(case: Case, budget_s: float, hour: str) -> Measured:
    """Train a case in a forked process and return what it took.

    Args:
        case: What to train.
        budget_s: Seconds for the counted steps and the epochs together.
        hour: When measuring began.

    Raises:
        RuntimeError: The process gave no result.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        processor = pool.submit(_processor_now).result()
    ours, theirs = context.Pipe()
    others = _others_s()
    began_s = perf_counter()
    child = context.Process(target=_tell, args=(theirs, case, budget_s))
    child.start()
    theirs.close()
    try:
        highest = _highest_until_warm(ours, psutil.Process(child.pid))
        told = ours.recv()
        if told == WARM:
            if not ours.poll(TIMEOUT_S):
                raise RuntimeError(f"no result after {TIMEOUT_S:g} s")
            told = ours.recv()
    except EOFError:
        raise RuntimeError("its process ended without a word: out of memory?") from None
    finally:
        child.kill()
        child.join()
    if isinstance(told, str):
        raise RuntimeError(told)
    baseline, at_end = told.pop("baseline"), told.pop("at_end")
    busy = max(_others_s() - others, 0) / (perf_counter() - began_s)
    return Measured(
        model=case.model.name,
        family=case.model.family,
        precision=case.precision,
        batch_size=case.batch_size,
        optimizer=case.model.optimizer,
        peak_memory_bytes=max(highest, at_end) - baseline,
        processor=processor,
        cores_used_by_others=round(busy, 3),
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        hour=hour,
        **told,
    )


def _processor_now() -> ProcessorRates:
    """Look at the processor's rates, in a process that goes on to train nothing."""
    return typical([measure_processor() for _ in range(LOOKS)])


def _highest_until_warm(connection: Connection, process: psutil.Process) -> int:
    """Poll a process's memory until it says anything: its first steps are done, or it has failed.

    Later polls would take the cores that are being timed, and memory that has been freed stays
    with the process anyway.
    """
    highest, until_s = 0, perf_counter() + TIMEOUT_S
    while not connection.poll(POLL_S):
        if perf_counter() > until_s:
            raise RuntimeError(f"first steps not done after {TIMEOUT_S:g} s")
        highest = max(highest, _anonymous_bytes(process))
    return highest


def _anonymous_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return memory.rss - memory.shared


def _others_s() -> float:
    """Return the CPU seconds so far that went neither to this process nor to its children."""
    times, own = psutil.cpu_times(), os.times()
    busy_s = times.user + times.nice + times.system + times.steal
    return busy_s - own.user - own.system - own.children_user - own.children_system


def _tell(connection: Connection, case: Case, budget_s: float) -> None:
    """Train in the forked process; send a word after the first steps, then the result."""
    try:
        process = psutil.Process()
        baseline, rss = _anonymous_bytes(process), process.memory_info().rss
        step = training_step(case.model, case.precision, case.batch_size)
        first = tuple(_timed(step) for _ in range(FIRST_STEPS))
        connection.send(WARM)
        result = _train(step, budget_s)
        highest_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        result |= {
            "threads": torch.get_num_threads(),
            "first_steps_s": first,
            "baseline": baseline,
            "at_end": _anonymous_bytes(process),
            "peak_rss_bytes": highest_rss - rss,
        }
    except Exception:
        connection.send(traceback.format_exc().strip().splitlines()[-1])
        return
    connection.send(result)


def _timed(call: Callable[[], object]) -> float:
    began_s = perf_counter()
    call()
    return perf_counter() - began_s


def _train(step: Callable[[], None], budget_s: float) -> dict[str, Any]:
    """Time single steps, then epochs, each with an equal share of the budget."""
    share_s = budget_s / (1 + EPOCHS)
    seconds = [_timed(step), _timed(step)]
    spent_s = sum(seconds)
    while (spent_s < share_s or len(seconds) < LEAST_STEPS) and spent_s < max(LONGEST_S, share_s):
        seconds.append(_timed(step))
        spent_s += seconds[-1]
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    steps = max(2, math.ceil(share_s / median))

    def epoch() -> None:
        for _ in range(steps):
            step()

    epochs = tuple(_timed(epoch) for _ in range(EPOCHS))
    middle = statistics.median(epochs)
    return {
        "num_steps": len(seconds),
        "step_median_s": median,
        "step_mean_s": statistics.mean(seconds),
        "step_low_s": low,
        "step_high_s": high,
        "epoch_steps": steps,
        "epochs_s": epochs,
        "epoch_s": middle,
        "epoch_spread": (max(epochs) - min(epochs)) / middle,
    }


def _in_words(row: Measured) -> str:
    return (
        f"{row.model:16} {row.precision} {row.batch_size:5}  "
        f"first {row.first_steps_s[0] * 1e3:7.1f} ms, then {row.step_median_s * 1e3:7.2f} ms "
        f"({row.num_steps}); epoch of {row.epoch_steps} {row.epoch_s:5.2f} s "
        f"± {row.epoch_spread:.0%}; {row.peak_memory_bytes / 2**20:5.0f} MiB"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only", choices=[model.name for model in MODELS], metavar="NAME")
    some.add_argument("--more", action="store_true", help="keep what was measured before")
    parser.add_argument(
        "--budget", type=float, default=2.4, help="seconds a case counts: steps and three epochs"
    )
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "cpu_models.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
