"""A deadline kept by the schedule, beside epochs tuned by hand and a timer that cuts a run off.

    python benchmarks/deadline.py            # 27 runs on 3 data sets, about eight minutes

Three ways to train within the same time, each with three seeds:

- `budget=`: the learning rate follows the time;
- by hand: as many epochs as fit into that time on this machine, found by training before;
- a timer: a schedule of twice as many epochs, cut off when the time is over, as a job scheduler or
  an impatient person does.

All watch the test set (`validate_on=test`); a run's score is its last validation within the time.
Writes results/deadline.json.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import measured_on
import traintime
from traintime.ledger.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
JOBS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"data": "mnist", "model": "lenet"}, 12.0),
    ({"data": "fashion-mnist", "model": "lenet"}, 15.0),
    ({"data": "cifar10", "model": "lenet"}, 20.0),
)
SEEDS = (0, 1, 2)
WATCHED: dict[str, Any] = {"validate_on": "test", "device": "cpu"}


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        job: Data set and network.
        way: "budget", "by hand" or "timer".
        seed: Of the run.
        budget_s: The time there was.
        took_s: Until the result, or the last validation that counts.
        epochs: Done by then.
        accuracy: On the test set, by then.
    """

    job: str
    way: str
    seed: int
    budget_s: float
    took_s: float
    epochs: float
    accuracy: float


def main() -> None:
    """Run everything, print the table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "deadline.json")
    given = parser.parse_args()
    facts = measured_on.measured_on(["traintime"])
    traintime.machine("cpu")
    traintime.train(**JOBS[0][0], **WATCHED, epochs=1)  # imports and warms up
    runs: list[Run] = []
    console = Console(width=120)
    for fields, budget_s in JOBS:
        epochs = _epochs_by_hand(fields, budget_s)
        for seed in SEEDS:
            for way in ("budget", "by hand", "timer"):
                runs.append(_run(fields, budget_s, way, seed, epochs))
                console.print(_in_words(runs[-1]), highlight=False)
    console.print(_table(runs))
    console.print(measured_on.in_words(facts), highlight=False)
    measured_on.write(
        given.out,
        {"measured_on": facts, "runs": [asdict(run) for run in runs], "rows": _rows(runs)},
    )


def _epochs_by_hand(fields: dict[str, Any], budget_s: float) -> int:
    """Return the epochs that fit, found as a person would: train some, then divide."""
    epochs = 2
    for _ in range(2):
        result = traintime.train(**fields, **WATCHED, epochs=epochs, seed=99)
        per_epoch_s = (result.seconds["train"] + result.seconds["validate"]) / epochs
        fixed_s = result.total_s - per_epoch_s * epochs
        epochs = max(1, int((budget_s - fixed_s) / per_epoch_s))
    return epochs


def _run(fields: dict[str, Any], budget_s: float, way: str, seed: int, epochs: int) -> Run:
    ways: dict[str, dict[str, Any]] = {
        "budget": {"budget": f"{budget_s:g}s"},
        "by hand": {"epochs": epochs},
        "timer": {"epochs": 2 * epochs},
    }
    result = traintime.train(**fields, **WATCHED, seed=seed, **ways[way])
    records = list(RunFolder(result.folder).records("epochs"))
    if way == "timer":
        records = [row for row in records if row["elapsed_s"] <= budget_s]
    last = records[-1]
    return Run(
        job=f"{fields['model']} on {fields['data']}",
        way=way,
        seed=seed,
        budget_s=budget_s,
        took_s=last["elapsed_s"] if way == "timer" else result.total_s,
        epochs=last["epoch"],
        accuracy=last["validation_accuracy"],
    )


def _rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for job in dict.fromkeys(run.job for run in runs):
        for way in ("budget", "by hand", "timer"):
            ours = [run for run in runs if (run.job, run.way) == (job, way)]
            scores = [run.accuracy for run in ours]
            took = [run.took_s for run in ours]
            found.append(
                {
                    "job": job,
                    "way": way,
                    "budget_s": ours[0].budget_s,
                    "took_s": [min(took), max(took)],
                    "epochs": statistics.mean(run.epochs for run in ours),
                    "accuracy": statistics.mean(scores),
                    "low": min(scores),
                    "high": max(scores),
                    "n": len(scores),
                }
            )
    return found


def _in_words(run: Run) -> str:
    return (
        f"{run.job:24} {run.way:8} seed {run.seed}  {run.took_s:5.1f} of {run.budget_s:g} s  "
        f"{run.epochs:3.0f} epochs  {run.accuracy:.2%}"
    )


def _table(runs: Sequence[Run]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("job", "way", "took", "epochs", "test accuracy", "lowest - highest"):
        table.add_column(heading, justify="left" if heading in ("job", "way") else "right")
    for row in _rows(runs):
        low_s, high_s = row["took_s"]
        table.add_row(
            row["job"],
            row["way"],
            f"{low_s:.1f}-{high_s:.1f} of {row['budget_s']:g} s",
            f"{row['epochs']:.0f}",
            f"{row['accuracy']:.2%}",
            f"{row['low']:.2%} - {row['high']:.2%}",
        )
    return table


if __name__ == "__main__":
    main()
