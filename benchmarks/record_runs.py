"""Real runs of many kinds, recorded from their first step to their last: what ETAs are judged by.

    python benchmarks/record_runs.py                 # 64 runs, about a quarter of an hour
    python benchmarks/record_runs.py --only digits   # those of one data set anew

Each run has no target, so its whole course is known, and every target can be asked of it later.
Schedules, optimizers, data sets and networks differ; a few runs share the processor for a while
with a program that does nothing but burn it, as happens on any desktop. Writes
results/recorded_runs.json.gz: of each run its recipe, what was forecast, each window of steps
(steps taken, seconds since the start), each validation (epoch, seconds, loss, accuracy), and the
seconds of all stages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from time import perf_counter
from typing import Any

import measured_on
import traintime
from traintime.ledger.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
SCHEDULES = ("one_cycle", "cosine", "step", "constant")
BURNED = (0.35, 0.65)
"""Shares of a run's forecast between which a disturbed run shares the processor."""
DIGITS = 4


@dataclass(frozen=True)
class Job:
    """A run to record.

    Args:
        fields: Of its recipe.
        disturbed: Whether another program burns a core in its middle.
    """

    fields: dict[str, Any]
    disturbed: bool = False

    @property
    def name(self) -> str:
        """What tells it from the others."""
        words = [str(value) for value in self.fields.values()]
        return "-".join([*words, *(["disturbed"] if self.disturbed else [])])


LENGTHS = {"mlp": ((20_000, 30), (50_000, 15)), "lenet": ((4_000, 30), (15_000, 20))}
"""Training samples and epochs of the two runs of a network on each data set."""


def jobs() -> Iterator[Job]:
    """Yield all runs."""
    for number, schedule in enumerate(SCHEDULES):
        for data in ("mnist", "fashion-mnist"):
            for model, lengths in LENGTHS.items():
                for samples, epochs in lengths:
                    yield _job(data, model, schedule, samples, epochs)
                samples, epochs = lengths[0]
                yield _job(data, model, schedule, samples, epochs, optimizer="sgd", seed=1)
        yield _job("digits", "lenet", schedule, None, 100)
        yield _job("cifar10", "lenet", schedule, 6_000, 25)
        yield _job("cifar10", "resnet9", schedule, 320, 10, seed=number, batch_size=32)
        disturbed = _job("mnist", "lenet", schedule, 10_000, 20, seed=number)
        yield replace(disturbed, disturbed=True)


def _job(
    data: str, model: str, schedule: str, samples: int | None, epochs: int, **more: Any
) -> Job:
    fields = {"data": data, "model": model, "schedule": schedule, "epochs": epochs, **more}
    return Job(fields | ({"train_samples": samples} if samples else {}))


def main() -> None:
    """Train everything and write what it did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="run those whose name begins so anew")
    parser.add_argument("--out", type=Path, default=RESULTS / "recorded_runs.json.gz")
    given = parser.parse_args()
    facts = measured_on.measured_on(["traintime"])
    profile = traintime.machine("cpu")
    runs: dict[str, dict[str, Any]] = {}
    if given.only and given.out.exists():
        before = json.loads(gzip.decompress(given.out.read_bytes()))
        runs = {run["name"]: run for run in before["runs"]}
    began_s = perf_counter()
    chosen = [job for job in jobs() if job.name.startswith(given.only)]
    with _folder_of_its_own(profile):
        for number, job in enumerate(chosen, 1):
            runs[job.name] = record(job)
            spent_s = perf_counter() - began_s
            took_s = runs[job.name]["total_s"]
            print(
                f"{spent_s:5.0f} s  {number}/{len(chosen)}  {job.name}  {took_s:.1f} s", flush=True
            )
            result = {"measured_on": facts, "runs": list(runs.values())}
            text = json.dumps(result, separators=(",", ":"))
            given.out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


@contextmanager
def _folder_of_its_own(profile: Any) -> Generator[None]:
    """Keep the runs out of the user's ledger, so that no run corrects the next one's forecast."""
    from traintime.api.machine import _profile_path  # pyright: ignore[reportPrivateUsage]
    from traintime.hardware.profile import save_profile
    from traintime.ledger.paths import cache_folder

    data = cache_folder() / "data"
    before = os.environ.get("TRAINTIME_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRAINTIME_HOME"] = folder
        cache_folder().mkdir(parents=True, exist_ok=True)
        if data.is_dir():
            (cache_folder() / "data").symlink_to(data)
        save_profile(profile, _profile_path(profile.machine, profile.device))
        try:
            yield
        finally:
            os.environ.pop("TRAINTIME_HOME")
            if before:
                os.environ["TRAINTIME_HOME"] = before


def record(job: Job) -> dict[str, Any]:
    """Train a job in this process and return its course."""
    forecast = traintime.forecast(**job.fields)
    with _burning(forecast.total_s.median if job.disturbed else None):
        result = traintime.train(**job.fields)
    folder = RunFolder(result.folder)
    windows = list(folder.records("steps"))
    epochs = [
        [row[name] for name in ("epoch", "elapsed_s", "validation_loss", "validation_accuracy")]
        for row in folder.records("epochs")
    ]
    return {
        "name": job.name,
        "disturbed": job.disturbed,
        "recipe": folder.read_recipe(),
        "forecast": folder.read_json("forecast"),
        "windows": [[row["step"], round(row["elapsed_s"], DIGITS)] for row in windows],
        "epochs": [[round(value, 6) for value in row] for row in epochs],
        "seconds": {name: round(value, DIGITS) for name, value in result.seconds.items()},
        "total_s": round(result.total_s, DIGITS),
    }


@contextmanager
def _burning(total_s: float | None) -> Generator[None]:
    """Let another process burn a core between two moments of a run."""
    if total_s is None:
        yield
        return
    begin_s, end_s = (share * total_s for share in BURNED)
    context = multiprocessing.get_context("spawn")
    burner = context.Process(target=_burn, args=(end_s - begin_s,), daemon=True)
    timer = Timer(begin_s, burner.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if burner.pid:
            burner.kill()
            burner.join()


def _burn(seconds: float) -> None:
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


if __name__ == "__main__":
    main()
