"""Targets: which are asked of recorded runs, and what official ones tell of how people choose."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np

from traintime.clock.curve_prediction import Aims, Array, Scale

sys.path.insert(0, str(Path(__file__).parent))

from recorded_curves import RecordedRun

LEVELS = (0.60, 0.75, 0.90)
EARLY_LEVELS = (0.15, 0.30, 0.45)
CLOSENESSES = (0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
"""How near official targets are to what runs reach, over their gain, that are tried."""
STRAYS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
"""Shares of targets that were chosen without knowing what a run does, that are tried."""


def scale_of(run: RecordedRun) -> Scale:
    """Return how a run's metric becomes an error."""
    return Scale(run.larger_is_better, run.bound)


@dataclass(frozen=True)
class Goal:
    """A target asked of a run, and what happened.

    Args:
        kind: "official", "level" (reached at a share of the run), "early" (the same, before half of
            it) or "beyond" (never reached).
        target: Value of the metric.
        arrival: Position where the run first reached it; None if it did not.
    """

    kind: str
    target: float
    arrival: float | None


def goals_of(run: RecordedRun) -> Iterator[Goal]:
    """Yield the targets to ask of a run.

    The official one, unless the run's record ends before it and no plan is known: then nobody knows
    whether it would have come. Where the plan is known, also the best values after 60, 75 and 90 %
    of the record, and one that it never reaches: better than its best by three times its noise and
    a tenth of all that it gained after the first tenth of its record, in log error.
    """
    if run.target is not None and (run.planned or run.reached is not None):
        yield Goal("official", run.target, run.reached)
    if run.planned is None:
        return
    scale, at = scale_of(run), np.array(run.positions)
    y = scale.log_error(run.values)
    best = np.minimum.accumulate(y)
    for level in LEVELS:
        target = run.values[int(y[: np.sum(at <= level * at[-1])].argmin())]
        yield Goal("level", target, run.first_reaching(target))
    beyond = best[-1] - 3 * noise_of(y) - 0.1 * max(gained(run), 0.0)
    yield Goal("beyond", float(scale.value(beyond)), None)


def early_goals_of(run: RecordedRun) -> Iterator[Goal]:
    """Yield the best values after 15, 30 and 45 % of a record: targets that few would choose."""
    at, y = np.array(run.positions), scale_of(run).log_error(run.values)
    for level in EARLY_LEVELS:
        if seen := int(np.sum(at <= level * at[-1])):
            target = run.values[int(y[:seen].argmin())]
            yield Goal("early", target, run.first_reaching(target))


def gained(run: RecordedRun) -> float:
    """Return how far the log error fell from a tenth of a run's record to its least value."""
    y = scale_of(run).log_error(run.values)
    return float(np.interp(0.1 * run.positions[-1], run.positions, y) - y.min())


def noise_of(y: Array) -> float:
    """Return the noise of a validation, from how the later half bends between neighbours."""
    late = y[len(y) // 2 - 1 :]
    bends = late[1:-1] - (late[:-2] + late[2:]) / 2
    return float(1.4826 * np.median(np.abs(bends)) / math.sqrt(1.5))


def lateness(runs: Iterable[RecordedRun]) -> float:
    """Return the likeliest power of the density of the shares of the plan at official arrivals.

    Of (1 + p)·u^p on 0 to 1, whose likelihood is largest at 1 + p = -1 / mean(log u).
    """
    shares = [run.reached / run.planned for run in runs if run.planned and run.reached]
    if not shares:
        return 0.0
    return round(max(0.0, -1 / fmean(math.log(min(share, 0.999)) for share in shares) - 1), 2)


def aimed(runs: Sequence[RecordedRun], late: float) -> tuple[float, float]:
    """Return the likeliest closeness and strays of official targets, as in `Aims`.

    Of targets that were reached and that were not; every source counts the same, and in it every
    task.
    """
    asked = [run for run in runs if run.planned and run.target is not None]
    tasks = {(run.source, run.task) for run in asked}
    sources = [source for source, _ in tasks]

    def likelihood(tried: tuple[float, float]) -> float:
        of_tasks = [
            fmean(_log_density(r, late, *tried) for r in asked if (r.source, r.task) == task)
            / sources.count(task[0])
            for task in sorted(tasks)
        ]
        return math.fsum(of_tasks)

    return max(product(CLOSENESSES, STRAYS), key=likelihood)


def _log_density(run: RecordedRun, late: float, closeness: float, strays: float) -> float:
    """Return the log density of a run's official target, had its course been known."""
    assert run.planned is not None
    assert run.target is not None
    scale, u = scale_of(run), np.array(run.positions) / run.planned
    bests = np.minimum.accumulate(scale.log_error(run.values))
    shares = u**late * np.diff(u, prepend=0.0) * (1 + late)
    aims = Aims(shares, float(bests[-1]) + gained(run), closeness, strays)
    goal = float(scale.log_error([run.target])[0])
    return math.log(float(aims.density(goal, bests[None])[0]))
