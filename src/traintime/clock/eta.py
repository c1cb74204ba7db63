"""The ETA: the forecast as prior, the run as evidence.

Seconds per step are log-normal around the forecast's; each window of observed steps narrows that.
Epochs to the target come from the expected learning curve, moved by the validations seen so far.
Time that was already spent is a fact and carries no uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from traintime.forecast.convergence import Curve, expected_curve, extrapolated_curve
from traintime.forecast.forecast import Forecast, mixture
from traintime.recipe import Recipe
from traintime.train.records import EpochRecord, Observer, Start, StepRecord
from traintime.units import Interval

WINDOW_SIGMA = 0.15
"""Of the logarithm of one window's mean step time, on a machine that others use too."""
DRIFT_SIGMA = 0.03
"""What no number of windows tells: the machine may be faster or slower from now on."""
SLOWEST_WEIGHT = 0.05
"""Weight of the newest window at least, so that a lasting change of speed is followed."""


@dataclass(frozen=True)
class Eta:
    """What is known of the end at one moment.

    Args:
        elapsed_s: Seconds since the run began.
        finish_s: Total duration of the run, from its beginning to its result.
        target_s: Time from the beginning to the target, if it can be said.
        chance_of_target: Probability of reaching it in this run.
    """

    elapsed_s: float
    finish_s: Interval
    target_s: Interval | None
    chance_of_target: float | None


class Clock(Observer):
    """Follows a run and says when it will end.

    Args:
        recipe: Gives epochs, target and batch size.
        forecast: The prior.
    """

    def __init__(self, recipe: Recipe, forecast: Forecast) -> None:
        self.recipe, self.forecast = recipe, forecast
        self.eta = Eta(0.0, forecast.total_s, forecast.time_to_target_s, forecast.chance_of_target)
        self._curve: Curve | None = None
        if recipe.goal:
            self._curve = expected_curve(recipe, recipe.goal.metric)
        self._log_step_s = math.log(forecast.step_time_s.median)
        self._variance = forecast.step_time_s.sigma**2
        self._seen: list[float] = []
        self._windows = 0
        self._epoch_s = forecast.stages_s["validate"].median / recipe.epochs
        self._done = 0.0

    def on_start(self, start: Start) -> None:
        """Take over what earlier processes did: time goes on, steps not run here do not count."""
        self._done = start.first_step / start.steps_per_epoch
        self._update(start.elapsed_s)

    def on_steps(self, record: StepRecord) -> None:
        """Learn from a window of steps."""
        self._windows += 1
        self._done = record.epoch
        if self._windows > 1:  # the first holds the warm-up
            self._learn_step_time(record.step_time_s)
        self._update(record.elapsed_s)

    def recall(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Take up the validations of earlier processes on this run, from their epoch records."""
        goal = self.recipe.goal
        if goal:
            self._seen = [float(record[f"validation_{goal.metric}"]) for record in epochs]

    def on_epoch(self, record: EpochRecord) -> None:
        """Learn from a validation."""
        self._done = float(record.epoch)
        goal = self.recipe.goal
        if goal:
            accuracy, loss = record.validation_accuracy, record.validation_loss
            self._seen.append(accuracy if goal.metric == "accuracy" else loss)
            if expected_curve(self.recipe, goal.metric) is None:
                self._curve = extrapolated_curve(self._seen, goal.metric, self.recipe.epochs)
        self._update(record.elapsed_s)

    def _learn_step_time(self, step_time_s: float) -> None:
        gain = max(SLOWEST_WEIGHT, self._variance / (self._variance + WINDOW_SIGMA**2))
        self._log_step_s += gain * (math.log(step_time_s) - self._log_step_s)
        self._variance *= 1 - gain
        self._variance = max(self._variance, 1e-6)

    def _update(self, elapsed_s: float) -> None:
        sigma = math.hypot(math.sqrt(self._variance), DRIFT_SIGMA)
        evaluate_s = self.forecast.stages_s["evaluate"].median
        ends = [
            self._at_epoch(epoch, elapsed_s, sigma) for epoch in range(1, self.recipe.epochs + 1)
        ]
        goal = self.recipe.goal
        if goal is None or self._curve is None:
            self.eta = Eta(elapsed_s, ends[-1].shifted(evaluate_s), None, None)
            return
        arrivals = self._curve.arrivals(goal, self._seen)
        if self._seen and goal.is_reached_by(self._seen[-1]):
            arrivals = [float(epoch == len(self._seen)) for epoch in range(1, len(ends) + 1)]
        chance = min(1.0, sum(arrivals))
        parts = list(zip(arrivals, ends, strict=True))
        target_s = mixture(parts) if chance > 0.01 else None
        finish_s = mixture([*parts, (1 - chance, ends[-1])]).shifted(evaluate_s)
        self.eta = Eta(elapsed_s, finish_s, target_s, chance)

    def _at_epoch(self, epoch: int, elapsed_s: float, sigma: float) -> Interval:
        """Return when an epoch and its validation will be done."""
        left = epoch - self._done
        if left <= 0:
            return Interval(elapsed_s, elapsed_s, elapsed_s)
        step_s = math.exp(self._log_step_s)
        seconds = left * self.forecast.steps_per_epoch * step_s + math.ceil(left) * self._epoch_s
        return Interval.lognormal(seconds, sigma).shifted(elapsed_s)


def remaining(interval: Interval, elapsed_s: float) -> Interval:
    """Return what is left of a total duration; never less than nothing."""
    low, median, high = (
        max(0.0, value - elapsed_s) for value in (interval.low, interval.median, interval.high)
    )
    return Interval(median, low, high, interval.level)
