"""Futures of a learning curve, and what they say of targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traintime.units import Interval

Array = NDArray[np.floating[Any]]

LEAST_WEIGHT = 1e-12
"""Keeps what adds up to nothing from being divided by."""
LEAST_ERROR = 1e-6
"""An error of zero has no logarithm."""


@dataclass(frozen=True)
class Scale:
    """How a metric's value becomes an error.

    Args:
        larger_is_better: As accuracy; a loss, a perplexity or an error rate is not.
        bound: The best value there can be: 1 for a share, 100 for a percentage, 0 for a loss. Where
            a larger value is better and no bound is known, give None: the error is then 1 / value,
            so the metric has to be positive and its gains count as ratios.
        worst: The worst value there can be, where one is known: 0 for a share.
    """

    larger_is_better: bool
    bound: float | None = None
    worst: float | None = None

    def log_error(self, values: Sequence[float] | Array) -> Array:
        """Return natural logarithms of the errors; the smaller, the better."""
        given = np.asarray(values, dtype=np.float64)
        if self.larger_is_better and self.bound is None:
            if np.any(given <= 0):
                raise ValueError(
                    f"A metric without a bound has to be positive, but is {given.min():g}. "
                    "Give Scale(larger_is_better=True, bound=...) the best value it can have."
                )
            return -np.log(given)
        bound = self.bound or 0.0
        errors = bound - given if self.larger_is_better else given - bound
        return np.log(np.maximum(errors, LEAST_ERROR))

    def value(self, log_errors: Array) -> Array:
        """Return the metric's values that logarithms of errors stand for."""
        if self.larger_is_better and self.bound is None:
            return np.exp(-log_errors)
        bound = self.bound or 0.0
        errors = np.exp(log_errors)
        if self.worst is not None:
            errors = np.minimum(errors, abs(bound - self.worst))
        return bound - errors if self.larger_is_better else bound + errors


ACCURACY = Scale(larger_is_better=True, bound=1.0, worst=0.0)
LOSS = Scale(larger_is_better=False)


@dataclass(frozen=True)
class Expected:
    """What earlier runs of the same recipe did, such as `forecast.convergence.Curve` knows.

    Args:
        positions: In the unit of the evaluations, ascending, from the first to the last.
        log_errors: Mean there.
        sigmas: Deviation from run to run there.
    """

    positions: Sequence[float]
    log_errors: Sequence[float]
    sigmas: Sequence[float]


@dataclass(frozen=True)
class CurvePrediction:
    """Futures of one run, each as likely as the others.

    Args:
        positions: (F,) of the evaluations ahead.
        log_errors: (N, F) of N futures, with the noise of validations.
        best: The least log error seen so far; infinite if nothing was.
        scale: Of the metric.
        aims: (F,) How likely a target is chosen that is reached there, in any unit.
    """

    positions: Array
    log_errors: Array
    best: float
    scale: Scale
    aims: Array

    def arrivals(self, target: float) -> list[float]:
        """Return the probability of each evaluation ahead to be the first to reach a target.

        What is missing to 1 is the probability of not getting there; a target that was reached
        already has no arrival ahead. That a target was chosen at all tells when it is reached, if
        it is: people choose what takes most of the plan.
        """
        goal = self._goal(target)
        if self.best <= goal:
            return [0.0] * len(self.positions)
        reached = self.log_errors <= goal
        first = np.where(reached.any(axis=1), reached.argmax(axis=1), len(self.positions))
        counts = np.bincount(first, minlength=len(self.positions) + 1)[:-1]
        chance, aimed = counts.sum() / len(reached), counts * self.aims
        return (chance * aimed / max(aimed.sum(), LEAST_WEIGHT)).tolist()

    def arrival(self, target: float, quantile: float = 0.5) -> float:
        """Return the position by which a target is reached with some probability.

        Infinite if it is reached less likely than that; never before the next evaluation.
        """
        reached = np.cumsum(self.arrivals(target))
        first = int(np.searchsorted(reached, quantile))
        return float(self.positions[first]) if first < len(reached) else math.inf

    def chance(self, target: float) -> float:
        """Return the probability that some evaluation reaches a target, those seen included."""
        return 1.0 if self.best <= self._goal(target) else min(1.0, sum(self.arrivals(target)))

    def band(self, level: float = 0.8) -> tuple[Array, Array, Array]:
        """Return low, median and high of the metric's value at each evaluation ahead."""
        tail = (1 - level) / 2
        values = self.scale.value(np.quantile(self.log_errors, [tail, 0.5, 1 - tail], axis=0))
        low, median, high = values[::-1] if self.scale.larger_is_better else values
        return low, median, high

    def final(self, level: float = 0.8) -> Interval:
        """Return the metric's value at the last evaluation ahead."""
        low, median, high = (float(values[-1]) for values in self.band(level))
        return Interval(median, low, high, level)

    def _goal(self, target: float) -> float:
        return float(self.scale.log_error([target])[0])
