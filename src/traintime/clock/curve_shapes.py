"""What learning curves look like over their plan, recorded ones and classical ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traintime.clock.curve_prediction import Array

FALL_FROM, LEAST_FALL = 0.1, 0.01
"""A shape's fall is measured from this share of the plan on; it is taken as this much at least."""
CLASSICAL_FALL_FROM = 0.03
"""The same for classical shapes, of which some have fallen all that they will by a tenth."""
EXCESSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""What noise of the updates adds to the error at the peak of the learning rate, over what is left
at a rate of 0: from none, as where too little data is learned by heart, to most of the error."""
UNKNOWN_EXCESSES = (0.8, 6.4)
"""The same under each schedule that is tried where none is known."""


@dataclass(frozen=True)
class Shapes:
    """Curves of other runs over their plan.

    Args:
        progress: (G,) Shares of the plan, ascending to 1.
        curves: (K, G) Log errors of K runs, without the noise of validations, over their fall from
            a tenth of the plan to its end.
        rates: (K, G) Learning rates over their peak; NaN where unknown.
        weights: (K,) Prior probabilities, in any unit.
        trainers: (K,) What each run was trained by, as its table is named.
    """

    progress: Array
    curves: Array
    rates: Array
    weights: Array
    trainers: tuple[str, ...] = ()

    def at(self, progress: Array) -> Array:
        """Return (T, K, F) log errors at (T, F) shares of a plan, held beyond its ends."""
        return read_at(self.progress, self.curves, progress)

    def of(self, trainer: str | None) -> NDArray[np.intp]:
        """Return the places of the shapes of runs by one trainer."""
        return np.flatnonzero([one == trainer for one in self.trainers])


@dataclass(frozen=True)
class ClassicalShapes:
    """Textbook curves, and what the noise of the updates adds to them.

    The variance that stochastic gradient descent keeps around a minimum grows with the learning
    rate (Mandt, Hoffman and Blei 2017, "Stochastic Gradient Descent as Approximate Bayesian
    Inference"), so the error is what it would be at a rate of 0, times 1 + excess · rate.

    Args:
        curves: (C, G) Log errors at a rate of 0, over their fall.
        excesses: (C, G) Logarithms of 1 + excess · rate.
        weights: (C,) Prior probabilities; they sum to 1.
    """

    curves: Array
    excesses: Array
    weights: Array


def read_at(grid: Array, values: Array, progress: Array) -> Array:
    """Return (T, K, F) of (K, G) values over a grid at (T, F) shares of a plan."""
    right = np.clip(np.searchsorted(grid, progress), 1, len(grid) - 1)
    before, after = grid[right - 1], grid[right]
    share = np.clip((progress - before) / (after - before), 0.0, 1.0)
    return np.moveaxis(values[:, right - 1] * (1 - share) + values[:, right] * share, 0, 1)


def classical_shapes(progress: Array, rate: Array | None) -> ClassicalShapes:
    """Return the classical curves under a learning rate, or under each of the usual schedules.

    The power law, Morgan-Mercer-Flodin and Janoschek, which Domhan et al. 2015 call pow3, mmf4 and
    janoschek.

    Args:
        progress: (G,) Shares of the plan.
        rate: (G,) Over its peak; None if it is not known.
    """
    steady = _steady(progress)
    if rate is None:
        schedules = [
            (schedule, excess)
            for schedule in _usual_schedules(progress)
            for excess in UNKNOWN_EXCESSES
        ]
        # At a constant rate an excess is part of the level: tried as often as each of the others.
        pairs = [(np.ones_like(progress), 0.0)] * len(UNKNOWN_EXCESSES) + schedules
    else:
        pairs = [(rate, excess) for excess in EXCESSES]
    excesses = np.array([np.log1p(excess * annealing(rate)) for rate, excess in pairs])
    count = len(pairs) * len(steady)
    return ClassicalShapes(
        np.tile(steady, (len(pairs), 1)),
        np.repeat(excesses, len(steady), axis=0),
        np.full(count, 1 / count),
    )


def annealing(rate: Array) -> Array:
    """Return a rate (G,) as if it had begun at its peak: a warm-up takes no noise away."""
    peak = int(rate.argmax())
    return np.where(np.arange(len(rate)) < peak, rate[peak], rate)


def _steady(u: Array) -> Array:
    curves = [-np.log(u + 0.001) / 2]
    for half in (0.03, 0.1, 0.3):
        curves += [-(u**1.5) / (u**1.5 + half**1.5), np.expm1(-u / half)]
    return over_fall(u, np.array(curves), CLASSICAL_FALL_FROM)


def _usual_schedules(u: Array) -> list[Array]:
    return [
        1 - u,
        (1 + np.cos(np.pi * u)) / 2,
        np.minimum(1.0, (1 - u) / 0.4),
        0.1 ** (1.0 * (u > 1 / 2) + (u > 3 / 4)),
        0.1 ** (1.0 * (u > 1 / 3) + (u > 2 / 3) + (u > 8 / 9)),
    ]


def over_fall(progress: Array, curves: Array, since: float = FALL_FROM) -> Array:
    """Return curves over their fall from a share of the plan to its end."""
    late = curves[:, progress >= since]
    return curves / np.maximum(late.max(axis=1) - late.min(axis=1), LEAST_FALL)[:, None]


def read_shapes(progress: Sequence[float], recorded: Sequence[Mapping[str, Any]]) -> Shapes:
    """Return the shapes that a file of `calibration/curve_fit.py` holds."""
    grid, unknown = np.array(progress), [math.nan] * len(progress)
    curves = np.array([curve["log_errors"] for curve in recorded])
    rates = np.array([curve["rates"] or unknown for curve in recorded])
    trainers = tuple(curve["source"] for curve in recorded)
    weights = np.array(_equal_weights(recorded))
    return Shapes(grid, over_fall(grid, curves), rates, weights, trainers)


def _equal_weights(recorded: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return weights by which each source counts as much as the others, and in it each task."""
    tasks = [(curve["source"], curve["task"]) for curve in recorded]
    num_tasks = Counter(source for source, _ in set(tasks))
    mean = len(set(tasks)) / len(num_tasks) if num_tasks else 1.0
    return [mean / num_tasks[task[0]] / tasks.count(task) for task in tasks]
