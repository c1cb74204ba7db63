"""Learning curves of public tables and of runs recorded here, read into what a replay understands.

The tables and their sources are described in the README.md beside them. A run needs ten
evaluations at positions that differ. Benchmarks whose many submissions ran one program are thinned
to a few runs a task.

The planned length is where the schedule of the learning rate ends, as far as that is known without
knowing when the run arrived: a table may state it (ffcv, modded-nanogpt), a benchmark may prescribe
it (AlgoPerf's step hint), or the run may have gone on after its target (most of DAWNBench). MLPerf
stops a run at its target and tells no schedule, so its planned length is None.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traintime.recipe import read_recipe
from traintime.train.schedules import learning_rate

LEAST_EVALUATIONS = 10
RUNS_PER_TASK = 8
RATES = 33
"""Samples of a learning rate over the plan, ends included."""


@dataclass(frozen=True)
class RecordedRun:
    """One training run and its evaluations.

    Args:
        source: Table that it stands in; left out together.
        task: Within the source, what was trained.
        name: Of the run.
        positions: Of the evaluations, in steps, epochs or samples; ascending.
        values: Of the metric there.
        larger_is_better: Direction of the metric.
        bound: Best value of the metric there can be; None if not known.
        planned: Position of the end of the plan; None if not known without the arrival.
        rates: Learning rate over its peak, evenly sampled over the plan; None if not known.
        target: Official target, where there is one.
        hours: Since the start at each evaluation, where recorded.
        data: Data set, where several tasks of the source have the same one.
    """

    source: str
    task: str
    name: str
    positions: tuple[float, ...]
    values: tuple[float, ...]
    larger_is_better: bool
    bound: float | None
    planned: float | None
    rates: tuple[float, ...] | None = None
    target: float | None = None
    hours: tuple[float, ...] | None = None
    data: str = ""

    @property
    def reached(self) -> float | None:
        """Position of the first evaluation at or past the official target, if any."""
        return None if self.target is None else self.first_reaching(self.target)

    def first_reaching(self, target: float) -> float | None:
        """Return the position of the first evaluation at or past a target."""
        sign = 1 if self.larger_is_better else -1
        for position, value in zip(self.positions, self.values, strict=True):
            if sign * value >= sign * target:
                return position
        return None


def recorded_runs(folder: Path, recorded: Path | None = None) -> list[RecordedRun]:
    """Return the runs of all tables, thinned, and those of a file recorded here.

    Args:
        folder: Of the public tables.
        recorded: What `benchmarks/record_runs.py` wrote, if it is to be added.
    """
    readers = (_dawnbench, _algoperf, _mlperf, _ffcv, _modded_nanogpt)
    runs = [run for reader in readers for run in reader(folder)]
    if recorded:
        runs += read_recorded(recorded)
    return list(_thinned(run for run in runs if len(run.positions) >= LEAST_EVALUATIONS))


def read_recorded(path: Path) -> list[RecordedRun]:
    """Return the runs that `benchmarks/record_runs.py` recorded, by their validation accuracy."""
    rows = json.loads(gzip.decompress(path.read_bytes()))["runs"]
    return [_recorded_here(row) for row in rows]


def _recorded_here(row: dict[str, Any]) -> RecordedRun:
    recipe = read_recipe(**row["recipe"])
    epochs, seconds, _, accuracies = zip(*row["epochs"], strict=True)
    per_epoch = 1_000
    shares = (n / (RATES - 1) for n in range(RATES))
    rates = (learning_rate(recipe, u * recipe.epochs * per_epoch, per_epoch) for u in shares)
    return RecordedRun(
        source="recorded here",
        task=f"{recipe.model} on {recipe.data}, {recipe.schedule}",
        name=row["name"],
        positions=tuple(map(float, epochs)),
        values=accuracies,
        larger_is_better=True,
        bound=1.0,
        planned=float(recipe.epochs),
        rates=tuple(rate / recipe.lr for rate in rates),
        hours=tuple(second / 3600 for second in seconds),
        data=recipe.data,
    )


def _thinned(runs: Iterable[RecordedRun]) -> Iterator[RecordedRun]:
    by_task: dict[tuple[str, str], list[RecordedRun]] = {}
    for run in runs:
        by_task.setdefault((run.source, run.task), []).append(run)
    for alike in by_task.values():
        count = min(len(alike), RUNS_PER_TASK)
        yield from (alike[(2 * n + 1) * len(alike) // (2 * count)] for n in range(count))


Point = tuple[float, float, float]
"""Position, value and hours."""


def _runs(path: Path) -> dict[str, list[dict[str, str]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    found: dict[str, list[dict[str, str]]] = {}
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["run_id"], []).append(row)
    return found


def _points(rows: list[dict[str, str]], position: str, value: str) -> list[Point]:
    """Return finite evaluations in order; of several at one position, the last."""
    found: dict[float, Point] = {}
    for row in rows:
        if row[value]:
            point = float(row[position]), float(row[value]), float(row["hours"] or "nan")
            if math.isfinite(point[1]):
                found[point[0]] = point
    return [found[at] for at in sorted(found)]


def _columns(
    points: list[Point],
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...] | None]:
    if not points:
        return (), (), None
    positions, values, hours = zip(*points, strict=True)
    return positions, values, hours if all(map(math.isfinite, hours)) else None


DAWNBENCH = {"CIFAR10": ("top1", 100.0, 94.0), "ImageNet": ("top5", 100.0, 93.0)}
DAWNBENCH["SQuAD"] = ("f1", 1.0, 0.75)


def _dawnbench(folder: Path) -> Iterator[RecordedRun]:
    for name, rows in _runs(folder / "dawnbench_curves.csv").items():
        task = rows[0]["task"]
        metric, bound, target = DAWNBENCH[task]
        # Some tables count epochs from 0.
        first = 0.0 if float(rows[0]["epoch"]) >= 1 else 1.0
        points = [(at + first, value, h) for at, value, h in _points(rows, "epoch", metric)]
        positions, values, hours = _columns(points)
        run = RecordedRun(
            "dawnbench", task, name, positions, values, True, bound, None, None, target, hours
        )
        reached = run.reached
        if reached is not None and reached < positions[-1]:  # its target did not end it
            run = RecordedRun(**run.__dict__ | {"planned": positions[-1]})
        yield run


ALGOPERF = {
    "criteo1tb": (False, 0.0, 10_666, 0.123735),
    "imagenet_resnet": (True, 1.0, 186_666, None),
    "imagenet_vit": (True, 1.0, 186_666, 0.77309),
    "librispeech_conformer": (False, 0.0, 80_000, None),
    "librispeech_deepspeech": (False, 0.0, 48_000, 0.119936),
    "wmt": (True, 100.0, 133_333, 30.8491),
}
"""Direction, bound, step hint and validation target, as mlcommons/algorithmic-efficiency states in
each `workload.py`; no target where the versions of that file differ."""
ALGOPERF_WARMUP = 0.05
"""Share of the step hint; each trial has its own, which the table does not give."""


def _algoperf(folder: Path) -> Iterator[RecordedRun]:
    """Read the baselines: a warm-up and a cosine down to 0 at the step hint.

    The self-tuned ones may run for three times as long, which they do at a rate of 0.
    """
    for name, rows in _runs(folder / "algoperf_curves.csv").items():
        task = rows[0]["workload"]
        larger, bound, hint, target = ALGOPERF[task]
        rows = [row | {"hours": row["hours_submission"]} for row in rows]
        positions, values, hours = _columns(_points(rows, "step", "validation_value"))
        planned = float(hint * (3 if positions[-1] > 1.05 * hint else 1))
        rates = tuple(_cosine(n / (RATES - 1) * planned / hint) for n in range(RATES))
        yield RecordedRun(
            "algoperf", task, name, positions, values, larger, bound, planned, rates, target, hours
        )


def _cosine(progress: float) -> float:
    if progress < ALGOPERF_WARMUP:
        return progress / ALGOPERF_WARMUP
    done = min(1.0, (progress - ALGOPERF_WARMUP) / (1 - ALGOPERF_WARMUP))
    return (1 + math.cos(math.pi * done)) / 2


SMALLER = ("rnnt", "gpt3-175b", "llama2-70b-lora", "llama3.1-405b")
PERCENT = ("gnmt", "transformer")
MLPERF = {
    "resnet50": 0.759,
    "bert-large": 0.72,
    "dlrm": 0.8025,
    "dlrm_dcnv2": 0.80275,
    "gpt3-175b": 2.69,
    "llama2-70b-lora": 0.925,
    "maskrcnn": 0.377,
    "ncf": 0.635,
    "retinanet": 0.34,
    "rgat": 0.72,
    "rnnt": 0.058,
    "ssd-resnet34": 0.23,
    "unet3d": 0.908,
}
"""Targets of `mlperf_results.csv`; of Mask R-CNN the boxes' alone, which the curve is of."""
EARLIER = {("v0.5", "resnet50"): 0.749, ("v0.5", "ssd-resnet34"): 0.212}
MOST_REPEATED = 0.1
"""Share of evaluations at one position with another, from which on the log's progress is too coarse
(whole epochs of a run that is one epoch long) or two metrics are mixed."""


def _mlperf(folder: Path) -> Iterator[RecordedRun]:
    for name, rows in _runs(folder / "mlperf_curves.csv.gz").items():
        task, edition = rows[0]["benchmark"], rows[0]["round"]
        points = _points(rows, "progress", "value")
        if len(points) < (1 - MOST_REPEATED) * len(rows):
            continue
        target = EARLIER.get((edition, task), MLPERF.get(task))
        larger = task not in SMALLER
        bound = (100.0 if task in PERCENT else 1.0) if larger else 0.0
        positions, values, hours = _columns(points)
        yield RecordedRun(
            "mlperf", task, name, positions, values, larger, bound, None, None, target, hours
        )


def _ffcv(folder: Path) -> Iterator[RecordedRun]:
    """Read ResNet-50 on ImageNet; the rates are those logged at the end of each epoch."""
    for name, rows in _runs(folder / "ffcv_curves.csv").items():
        points = [(at + 1, value, h) for at, value, h in _points(rows, "epoch", "top5")]
        positions, values, hours = _columns(points)
        planned = float(rows[0]["epochs_total"])
        logged = {float(row["epoch"]) + 1: float(row["lr"]) for row in rows}
        peak = max(logged.values())
        at = [n / (RATES - 1) * planned for n in range(RATES)]
        rates = tuple(_interpolated(epoch, {0.0: 0.0, **logged}) / peak for epoch in at)
        yield RecordedRun(
            "ffcv", "ImageNet", name, positions, values, True, 100.0, planned, rates, None, hours
        )


def _interpolated(at: float, known: dict[float, float]) -> float:
    xs = sorted(known)
    right = next((n for n, x in enumerate(xs) if x >= at), len(xs) - 1)
    left = max(0, right - 1)
    if right == left:
        return known[xs[right]]
    share = (at - xs[left]) / (xs[right] - xs[left])
    return known[xs[left]] + min(1.0, share) * (known[xs[right]] - known[xs[left]])


def _modded_nanogpt(folder: Path) -> Iterator[RecordedRun]:
    """Read speed records of GPT-2; the rate is held and then falls, from where is not in the table.

    The record's target is reached at the end by construction, so none is asked for.
    """
    for name, rows in _runs(folder / "modded_nanogpt_curves.csv").items():
        positions, values, hours = _columns(_points(rows, "step", "val_loss"))
        planned = float(rows[0]["total_steps"])
        task = f"track {rows[0]['track']}"
        yield RecordedRun(
            "modded-nanogpt", task, name, positions, values, False, 0.0, planned, hours=hours
        )
