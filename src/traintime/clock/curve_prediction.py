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
LEAST_GAIN = 0.02
"""Of a future, in log error: one that gains less is as near to a target as if it gained this."""


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

    def sampling_noise(self, values: Sequence[float] | Array) -> float:
        """Return the deviation of a validation's log error that counting few samples makes at most.

        Of n samples a share p is wrong, with a relative deviation of sqrt((1 - p) / (p·n)). It
        cannot change by less than one of them, so the smallest step between values tells n at
        least. 0 where the metric is no share or too little was seen.
        """
        if not (self.larger_is_better and self.bound):
            return 0.0
        errors = 1 - np.asarray(values, dtype=np.float64) / self.bound
        steps = np.diff(np.unique(np.round(errors, 9)))
        wrong = float(np.median(errors[-5:])) if len(steps) else 0.0
        return math.sqrt((1 - wrong) * steps.min() / wrong) if 0 < wrong < 1 else 0.0

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
class Aims:
    """Which targets people choose: what such a run reaches late in its plan, give or take.

    Some choose without knowing what the run will do. They are why a curve that is about to cross
    its target is believed, however early that is in the plan: a target that few would have chosen
    in the other futures either is no reason to doubt this one.

    Args:
        shares: (F,) Probability that a target is meant to be reached at each evaluation ahead.
        gained_from: Log error that a run's gain is counted from.
        closeness: Deviation of a target from what is reached when it is meant to be, over the gain.
        strays: Share of targets that are chosen without knowing what the run will do.
    """

    shares: Array
    gained_from: float
    closeness: float
    strays: float

    def density(self, goal: float, bests: Array) -> Array:
        """Return how likely a target (its log error) is in each of some futures.

        Args:
            goal: Log error of the target.
            bests: (N, F) Least log error of each future up to each evaluation.
        """
        gain = np.maximum(self.gained_from - bests[:, -1:], LEAST_GAIN)
        apart = (goal - bests) / (self.closeness * gain)
        normal = np.exp(-(apart**2) / 2) / (self.closeness * math.sqrt(2 * math.pi))
        meant = (normal @ self.shares) / gain[:, 0]
        return (1 - self.strays) * meant + self.strays / gain.mean()


@dataclass(frozen=True)
class CurvePrediction:
    """Futures of one run, each as likely as the others.

    Args:
        positions: (F,) of the evaluations ahead.
        log_errors: (N, F) of N futures, with the noise of validations.
        best: The least log error seen so far; infinite if nothing was.
        scale: Of the metric.
        aims: Which targets are chosen; None if the plan is not known.
        stuck: (N,) Which of them learn nothing, which nobody who chooses a target knows; None if
            that was not asked.
        tail: Probability that an interval of the time to a target leaves out on each side, to hold
            four times in five.
    """

    positions: Array
    log_errors: Array
    best: float
    scale: Scale
    aims: Aims | None = None
    stuck: NDArray[np.bool_] | None = None
    tail: float = 0.1

    def arrivals(self, target: float) -> list[float]:
        """Return the probability of each evaluation ahead to be the first to reach a target.

        What is missing to 1 is the probability of not getting there; a target that was reached
        already has no arrival ahead.
        """
        count = len(self.positions)
        if self.best <= self._goal(target):
            return [0.0] * count
        return np.bincount(self.first(target), self.weights(target), count + 1)[:-1].tolist()

    def first(self, target: float) -> NDArray[np.intp]:
        """Return (N,) each future's first evaluation to reach a target; F where none does."""
        reached = self.log_errors <= self._goal(target)
        return np.where(reached.any(axis=1), reached.argmax(axis=1), len(self.positions))

    def weights(self, target: float | None = None) -> Array:
        """Return (N,) probabilities of the futures.

        That a target was chosen tells of the run: futures in which people would have chosen it
        count for more (Bayes' rule). So chances are of targets that somebody chose, and a bolder
        choice may be as likely as a timid one. That few would have chosen one so easy is no reason
        to doubt that it is reached: its chance is never less than by the curve alone.
        """
        alone = np.full(len(self.log_errors), 1 / len(self.log_errors))
        if self.aims is None or target is None:
            return alone
        bests = np.minimum(np.minimum.accumulate(self.log_errors, axis=1), self.best)
        likely = np.maximum(self.aims.density(self._goal(target), bests), LEAST_WEIGHT)
        if self.stuck is not None and not self.stuck.all():
            likely = np.where(self.stuck, likely[~self.stuck].mean(), likely)
        reached = self.first(target) < len(self.positions)
        aimed = likely[reached].sum() / likely.sum()
        chance = max(aimed, alone[reached].sum())
        shares = np.where(reached, chance, 1 - chance)
        return shares * likely / np.where(reached, likely[reached].sum(), likely[~reached].sum())

    def arrival(self, target: float, quantile: float = 0.5) -> float:
        """Return the position by which a target is reached with some probability.

        Infinite if it is reached less likely than that; never before the next evaluation.
        """
        reached = np.cumsum(self.arrivals(target))
        first = int(np.searchsorted(reached, quantile))
        return float(self.positions[first]) if first < len(reached) else math.inf

    def arrival_if_any(self, target: float, quantile: float = 0.5) -> float:
        """Return the position by which a target is reached with some probability, if it is at all.

        The last one if no future reaches it.
        """
        reached = np.cumsum(self.arrivals(target))
        first = int(np.searchsorted(reached, quantile * reached[-1])) if reached[-1] > 0 else -1
        return float(self.positions[min(first, len(reached) - 1)])

    def chance(self, target: float) -> float:
        """Return the probability that some evaluation reaches a target, those seen included."""
        return 1.0 if self.best <= self._goal(target) else min(1.0, sum(self.arrivals(target)))

    def chance_to_improve(self) -> float:
        """Return the probability that any evaluation ahead is better than the best so far."""
        return float(np.mean(self.log_errors.min(axis=1) < self.best))

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
