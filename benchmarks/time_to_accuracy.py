"""Wall time from process start to a test accuracy: traintime beside the tutorials' recipes.

    python benchmarks/environments.py          # once: the peers' environments
    python benchmarks/time_to_accuracy.py      # all work, all contenders, three seeds

The clock runs outside: from starting a contender's process until it has printed that it is there,
imports and compilation included. Contenders take turns within each seed, because machines are
shared and noisy, and ratios are taken within a seed. Same network, same data and same test set for
all; batch size, schedule, loader and precision are each contender's own (see `peers/`).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

import contenders
import measured_on
import processes
import race_table
from contenders import Contender
from race_table import RaceRun
from traintime.ledger.paths import cache_folder


@dataclass(frozen=True)
class Work:
    """What is to be reached.

    Args:
        name: How `--work` calls it.
        data: The data set.
        model: The network.
        target: Test accuracy, 0 to 1.
        ours: What traintime's recipe changes of its preset: it ends when the target is due.
    """

    name: str
    data: str
    model: str
    target: float
    ours: tuple[str, ...]


WORK = {
    work.name: work
    for work in (
        Work(
            "lenet-fashion",
            "fashion-mnist",
            "lenet",
            0.90,
            ("epochs=2", "batch_size=384", "lr=0.035"),
        ),
        Work("lenet-mnist", "mnist", "lenet", 0.99, ("epochs=1", "batch_size=192", "lr=0.025")),
        Work("mlp-fashion", "fashion-mnist", "mlp", 0.88, ("epochs=2",)),
    )
}


def main() -> None:
    """Measure what the command line asks for, print a table and write the result."""
    given = _arguments()
    work = [_work_named(name) for name in given.work.split(",")]
    taking_part = contenders.chosen(contenders.TIME_TO_ACCURACY, given.contenders)
    able = [contender for contender in taking_part if not contender.why_not()]
    facts = measured_on.measured_on(contender.environment for contender in able)
    rules = {"seeds": given.seeds, "max_epochs": given.max_epochs, "timeout_s": given.timeout}
    console = Console()
    runs: list[RaceRun] = []
    before = _works_measured_before(given.out)
    for seed in range(given.seeds):
        for piece in work:
            for contender in able:
                runs.append(_race(piece, contender, seed, given.max_epochs, given.timeout))
                console.print(race_table.one_line(runs[-1]), highlight=False)
                # Written after each run: an hour's work should not hang on the last minute.
                now = _works_measured(facts, rules, work, taking_part, runs)
                result = {"benchmark": "time_to_accuracy", "work": before | now}
                measured_on.write(given.out, result)
    for piece in work:
        rows = race_table.rows(piece.name, taking_part, runs)
        title = f"{piece.model} on {piece.data} to {piece.target:.0%} test accuracy"
        console.print(race_table.table(title, rows))
    others = median(run.cores_used_by_others for run in runs)
    console.print(measured_on.in_words(facts, others), highlight=False)
    console.print(f"Written to {given.out}", highlight=False)


def _race(
    work: Work, contender: Contender, seed: int, max_epochs: int, timeout_s: float
) -> RaceRun:
    arguments = _peer_arguments(work, seed, max_epochs)
    if contender is contenders.TRAINTIME:
        arguments = _traintime_arguments(work, seed)
    began = time.time()
    finished = processes.run(contender.command(*arguments), timeout_s)
    outcome = finished.outcome
    if contender is contenders.TRAINTIME and outcome:
        outcome = _traintime_outcome(outcome)
    return RaceRun(
        work=work.name,
        contender=contender.name,
        seed=seed,
        reached=outcome.get("reached", False),
        seconds=_seconds_to_target(finished, began),
        seconds_to_exit=finished.seconds_to_exit,
        cores_used_by_others=finished.cores_used_by_others,
        timed_out=finished.timed_out,
        problem=finished.problem,
        outcome=outcome,
    )


def _seconds_to_target(finished: processes.Finished, began: float) -> float:
    """Return when the target was reached, seconds after the process was started.

    A peer stops and prints there; traintime goes on to test, save and report, and says when it was.
    """
    outcome = finished.outcome
    if outcome.get("time_to_target_s") is None:
        return finished.seconds_to_outcome
    started = datetime.fromisoformat(outcome["started_at"]).timestamp()
    return started - began + outcome["time_to_target_s"]


def _peer_arguments(work: Work, seed: int, max_epochs: int) -> list[str]:
    return [
        *("--data", work.data, "--data-folder", str(cache_folder() / "data")),
        *("--model", work.model, "--target", str(work.target)),
        *("--seed", str(seed), "--max-epochs", str(max_epochs)),
    ]


def _traintime_arguments(work: Work, seed: int) -> list[str]:
    recipe = [f"data={work.data}", f"model={work.model}", f"target=accuracy:{work.target}"]
    return ["train", *recipe, *work.ours, "validate_on=test", f"seed={seed}", "--json"]


def _traintime_outcome(printed: dict) -> dict:
    """Return traintime's own words for a run in those of the peers."""
    seconds = printed["seconds"]
    return {
        "reached": printed["time_to_target_s"] is not None,
        "epochs": printed["epochs"],
        "accuracy": printed["test"]["accuracy"],
        "seconds_in_process": printed["total_s"],
        "time_to_target_s": printed["time_to_target_s"],
        "epoch_seconds": [(seconds["train"] + seconds["validate"]) / printed["epochs"]],
    }


def _works_measured_before(out: Path) -> dict[str, Any]:
    """Return what the file holds already: works are measured one at a time, or together."""
    return json.loads(out.read_text(encoding="utf-8"))["work"] if out.exists() else {}


def _works_measured(
    facts: dict, rules: dict, work: list[Work], taking_part: tuple[Contender, ...], runs: list
) -> dict[str, Any]:
    return {
        piece.name: asdict(piece)
        | {
            "measured_on": facts,
            "rules": rules,
            "rows": [asdict(row) for row in race_table.rows(piece.name, taking_part, runs)],
            "runs": [asdict(run) for run in runs if run.work == piece.name],
        }
        for piece in work
    }


def _work_named(name: str) -> Work:
    if name not in WORK:
        raise SystemExit(f"No work named '{name}'. There is: {', '.join(WORK)}.")
    return WORK[name]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join(contender.name for contender in contenders.TIME_TO_ACCURACY)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... (default: 3)")
    parser.add_argument("--work", default=",".join(WORK), help=f"default: {','.join(WORK)}")
    parser.add_argument("--contenders", default="all", help=f"all, or some of: {names}")
    parser.add_argument("--max-epochs", type=int, default=15, help="a peer gives up after these")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one run")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "time_to_accuracy.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
