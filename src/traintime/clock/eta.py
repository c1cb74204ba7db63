"""The ETA: the forecast as prior, the run as evidence.

Seconds per step are log-normal around the forecast's; each window of observed steps narrows that.
Epochs to the target come from the expected learning curve, moved by the validations seen so far.
Time that was already spent is a fact and carries no uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

from traintime.forecast.convergence import Curve, expected_curve, extrapolated_curve
from traintime.forecast.forecast import Forecast, mixture
from traintime.recipe import Recipe
from traintime.recipe.recipe import Metric
from traintime.train.pace import Deadline
from traintime.train.records import EpochRecord, Observer, Start, StepRecord
from traintime.units import Interval

WINDOW_SIGMA = 0.15
"""Of the logarithm of one window's mean step time, before any was seen."""
LEAST_DRIFT = 0.03
"""What no number of windows tells: the machine may be faster or slower from now on."""
DRIFT_SHARE = 0.5
"""Of the spread between windows, how much of it may last for the rest of the run."""
LEAST_GAIN = 0.05
"""Weight of the newest window at least, so that a lasting change of speed is followed."""
UPDATE_SHARE = 0.01
"""Of a run's time, at most, that is spent on working the ETA out anew."""
STAGE_SIGMA = 0.3
"""Of the logarithm of the short stages that are still to come: validation and test."""


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
        deadline: When the result has to be there, if there is such a time.
    """

    def __init__(
        self, recipe: Recipe, forecast: Forecast, deadline: Deadline | None = None
    ) -> None:
        self.recipe, self.forecast, self.deadline = recipe, forecast, deadline
        self.eta = Eta(0.0, forecast.total_s, forecast.time_to_target_s, forecast.chance_of_target)
        self._curve: Curve | None = None
        if recipe.goal:
            self._curve = expected_curve(recipe, recipe.goal.metric)
        self._log_step_s = math.log(forecast.step_time_s.median)
        self._variance = forecast.step_time_s.sigma**2
        self._window_variance = WINDOW_SIGMA**2
        self._seen: list[float] = []
        self._windows = 0
        self._validate_s = forecast.stages_s["validate"].median / recipe.epochs
        self._done = 0.0
        self._validated = 0
        self._next_update = 0.0

    def on_start(self, start: Start) -> None:
        """Take over what earlier processes did: time goes on, steps not run here do not count."""
        self._done = start.first_step / start.steps_per_epoch
        self._validated = start.first_epoch
        self._update(start.elapsed_s)

    def on_steps(self, record: StepRecord) -> None:
        """Learn from a window of steps."""
        self._windows += 1
        self._done = record.epoch
        if self._windows > 1:  # the first holds the warm-up
            self._learn_step_time(record.step_time_s)
        began = perf_counter()
        if began >= self._next_update:
            self._update(record.elapsed_s)
            ended = perf_counter()
            self._next_update = ended + (ended - began) / UPDATE_SHARE

    def recall(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Take up the validations of earlier processes on this run, from their epoch records."""
        goal = self.recipe.goal
        if goal:
            self._seen = [float(record[f"validation_{goal.metric}"]) for record in epochs]
            self._fit_curve(goal.metric)

    def _fit_curve(self, metric: Metric) -> None:
        """Draw the curve through what was seen, where no earlier run tells what to expect."""
        if expected_curve(self.recipe, metric) is None:
            self._curve = extrapolated_curve(self._seen, metric, self.recipe.epochs)

    def on_epoch(self, record: EpochRecord) -> None:
        """Learn from a validation."""
        self._done = float(record.epoch)
        self._validated = record.epoch
        goal = self.recipe.goal
        if goal:
            accuracy, loss = record.validation_accuracy, record.validation_loss
            self._seen.append(accuracy if goal.metric == "accuracy" else loss)
            self._fit_curve(goal.metric)
        self._update(record.elapsed_s)

    def _learn_step_time(self, step_time_s: float) -> None:
        surprise = math.log(step_time_s) - self._log_step_s
        if self._windows > 2:  # the first surprise is the forecast's error, not the machine's
            self._window_variance += 0.2 * (surprise**2 - self._window_variance)
        gain = max(LEAST_GAIN, self._variance / (self._variance + self._window_variance))
        self._log_step_s += gain * surprise
        self._variance *= 1 - gain

    def _update(self, elapsed_s: float) -> None:
        epochs = range(1, self.recipe.epochs + 1)
        evaluate_s = self.forecast.stages_s["evaluate"].median
        latest_s = self._latest_s(elapsed_s)
        validated = [self._end_of(n, elapsed_s, 0.0).capped(latest_s) for n in epochs]
        finished = [self._end_of(n, elapsed_s, evaluate_s).capped(latest_s) for n in epochs]
        if self.deadline and self.deadline.most_epochs > self.recipe.epochs:
            finished[-1] = Interval(latest_s, min(finished[-1].low, latest_s), latest_s)
        arrivals = self._arrivals()
        if arrivals is None:
            self.eta = Eta(elapsed_s, finished[-1], None, None)
            return
        chance = min(1.0, sum(arrivals))
        target_s = mixture(list(zip(arrivals, validated, strict=True))) if chance > 0.01 else None
        parts = [*zip(arrivals, finished, strict=True), (1 - chance, finished[-1])]
        self.eta = Eta(elapsed_s, mixture(parts), target_s, chance)

    def _latest_s(self, elapsed_s: float) -> float:
        """Return what the run takes at most, by its deadline."""
        if self.deadline is None:
            return math.inf
        left_s = self.deadline.budget.left_s(elapsed_s, datetime.now().astimezone())
        return elapsed_s + max(0.0, left_s)

    def _arrivals(self) -> list[float] | None:
        """Return the probability of each epoch to be the one that reaches the target."""
        goal = self.recipe.goal
        if goal is None or self._curve is None:
            return None
        if self._seen and goal.is_reached_by(self._seen[-1]):
            return [float(n == len(self._seen)) for n in range(1, self.recipe.epochs + 1)]
        return self._curve.arrivals(goal, self._seen)

    def _end_of(self, epoch: int, elapsed_s: float, afterwards_s: float) -> Interval:
        """Return when an epoch, its validation and what follows will be done."""
        left = max(0.0, epoch - self._done)
        train_s = left * self.forecast.steps_per_epoch * math.exp(self._log_step_s)
        stages_s = max(0, epoch - self._validated) * self._validate_s + afterwards_s
        seconds = train_s + stages_s
        if seconds <= 0:
            return Interval(elapsed_s, elapsed_s, elapsed_s)
        drift = max(LEAST_DRIFT, DRIFT_SHARE * math.sqrt(self._window_variance))
        trained = train_s * math.hypot(math.sqrt(self._variance), drift)
        sigma = math.hypot(trained, stages_s * STAGE_SIGMA) / seconds
        return Interval.lognormal(seconds, sigma).shifted(elapsed_s)


def remaining(interval: Interval, elapsed_s: float) -> Interval:
    """Return what is left of a total duration; never less than nothing."""
    low, median, high = (
        max(0.0, value - elapsed_s) for value in (interval.low, interval.median, interval.high)
    )
    return Interval(median, low, high, interval.level)
