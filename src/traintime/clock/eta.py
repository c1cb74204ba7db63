"""The ETA: the forecast as prior, the run as evidence.

What a step and a validation take is followed by `speed`, how the validations go on by `outlook`.
Time that was already spent is a fact and carries no uncertainty; steps that another process of the
same run took are done, but say nothing of this one's speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from traintime.clock.speed import Speed, end_after
from traintime.clock.watched import Guess, Watched
from traintime.forecast.convergence import Curve, expected_curve
from traintime.forecast.forecast import Forecast, mixture
from traintime.forecast.predict import FINISH_S
from traintime.forecast.time_budget import fitting_epochs
from traintime.recipe import Recipe
from traintime.recipe.recipe import Metric
from traintime.recipe.steering import learns_alike
from traintime.train.pace import Deadline
from traintime.train.records import EpochRecord, Observer, Start, StepRecord
from traintime.units import Interval, format_duration, format_percent

if TYPE_CHECKING:
    from traintime.clock.outlook import Outlook

METRICS: tuple[Metric, ...] = ("accuracy", "loss")
UPDATE_SHARE = 0.01
"""Of a run's time, at most, that is spent on working the ETA out anew."""
OUTLOOK_SHARE = 0.02
"""The same for looking ahead along the learning curve, which another thread does."""
LEAST_SEEN = 2
"""Validations before a run that nothing is known of is looked ahead in."""
LEAST_SHARE, LEAST_JUDGED = 0.25, 5
"""Share of a run and validations before a small chance ends it: earlier ones are false alarms too
often (`benchmarks/eta_accuracy.py`)."""


@dataclass(frozen=True)
class Eta:
    """What is known of the end at one moment.

    Args:
        elapsed_s: Seconds since the run began.
        finish_s: Total duration of the run, from its beginning to its result.
        target_s: Time from the beginning to the target, if it can be said.
        chance_of_target: Probability of reaching it in this run.
        final: Value of the watched metric at the end of the schedule, if it can be said.
    """

    elapsed_s: float
    finish_s: Interval
    target_s: Interval | None
    chance_of_target: float | None
    final: Interval | None = None


class Clock(Observer):
    """Follows a run and says when it will end.

    Args:
        recipe: Gives epochs, target and batch size.
        forecast: The prior.
        deadline: When the result has to be there, if there is such a time.
        thread: Looks ahead along the learning curve; None does it at once.
        guess: What guessing gives; None if it is not known.
    """

    def __init__(
        self,
        recipe: Recipe,
        forecast: Forecast,
        deadline: Deadline | None = None,
        thread: Executor | None = None,
        guess: Guess | None = None,
    ) -> None:
        self.recipe, self.forecast, self.deadline = recipe, forecast, deadline
        self.guess = guess
        self.eta = Eta(0.0, forecast.total_s, forecast.time_to_target_s, forecast.chance_of_target)
        self.metric: Metric = recipe.goal.metric if recipe.goal else recipe.monitor
        self.outlook: Outlook | None = None
        # A run that the outlook may end does not depend on when a thread is done.
        self._thread = None if recipe.min_chance else thread
        self._looking: Future[tuple[Outlook, float]] | None = None
        self._looked_s = 0.0
        self._curve: Curve | None = forecast.curve or expected_curve(recipe, self.metric)
        self._steps = Speed(forecast.step_time_s)
        self._validations = Speed(forecast.stages_s["validate"].scaled(1 / recipe.epochs))
        self._validated_as: list[dict[Metric, float]] = []
        self._margin = 0.0
        self._done = 0.0
        self._validated = 0
        self._last: tuple[float, float] | None = None
        self._is_warm = False
        self._next_update = 0.0

    # What is seen

    def on_start(self, start: Start) -> None:
        """Take over what earlier processes did: time goes on, steps not run here do not count."""
        self._done = start.first_step / start.steps_per_epoch
        self._validated = start.first_epoch
        self._update(start.elapsed_s)
        if self._seen:
            self._look_ahead()

    def on_steps(self, record: StepRecord) -> None:
        """Learn from a window of steps."""
        self._done = record.epoch
        self._learn_step_time(record)
        began = perf_counter()
        if began >= self._next_update:
            self._update(record.elapsed_s)
            ended = perf_counter()
            self._next_update = ended + (ended - began) / UPDATE_SHARE

    def _learn_step_time(self, record: StepRecord) -> None:
        """Take the time since the last window, with what is done between windows.

        The first window warms up, and tells only how many steps were done.
        """
        if self._is_warm and self._last:
            step, elapsed_s = self._last
            self._steps.see(record.step - step, record.elapsed_s - elapsed_s)
        self._is_warm = True
        self._last = (record.step, record.elapsed_s)

    def recall(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Take up the validations of earlier processes on this run, from their epoch records."""
        for record in epochs:
            self._validated_as.append({m: float(record[f"validation_{m}"]) for m in METRICS})
            self._margin = float(record.get("margin", 0.0))  # earlier versions knew of none

    @property
    def _seen(self) -> list[float]:
        """What the validations so far were, by the metric that is watched."""
        return [validation[self.metric] for validation in self._validated_as]

    def on_epoch(self, record: EpochRecord) -> None:
        """Learn from a validation."""
        if self._last and self._is_warm:
            self._validations.see(1, record.elapsed_s - self._last[1])
        self._last = (record.step, record.elapsed_s)
        self._done = float(record.epoch)
        self._validated = record.epoch
        self._validated_as.append(
            {"accuracy": record.validation_accuracy, "loss": record.validation_loss}
        )
        self._margin = record.margin
        if self.recipe.min_chance or self._looked_s <= OUTLOOK_SHARE * record.elapsed_s:
            self._look_ahead()
        self._update(record.elapsed_s)

    def on_recipe(self, recipe: Recipe) -> None:
        """Take up another end, target or schedule."""
        self._take_up(recipe)
        if self._seen and not self._looking:
            self._look_ahead()
        self._update(self.eta.elapsed_s)

    def _take_up(self, recipe: Recipe) -> None:
        metric = recipe.goal.metric if recipe.goal else recipe.monitor
        learns_as_before = metric == self.metric and learns_alike(recipe, self.recipe)
        self.recipe, self.metric = recipe, metric
        if recipe.min_chance:
            self._thread = None
        self.outlook = None
        if self._looking:
            self._looking.cancel()
            self._looking = None
        if not learns_as_before:
            self._curve = expected_curve(recipe, metric)
        if self.deadline and recipe.time_budget:
            self.deadline = replace(self.deadline, budget=recipe.time_budget)

    def on_rollback(self, start: Start) -> None:
        """Go back to where the run goes on from; the time is spent all the same."""
        self._done = start.first_step / start.steps_per_epoch
        self._validated = start.first_epoch
        del self._validated_as[start.first_epoch :]
        self.outlook, self._looking, self._last, self._is_warm = None, None, None, False
        self._update(start.elapsed_s)

    def stop_reason(self) -> str:
        """Say why the run should end now, or nothing."""
        outlook, least = self.outlook, self.recipe.min_chance
        judged = len(self._seen) >= LEAST_JUDGED and self._done >= LEAST_SHARE * self._last_epoch()
        if not least or outlook is None or not judged:
            return ""
        chance = outlook.chance if outlook.arrivals is not None else outlook.chance_to_improve
        if chance is None or chance >= least:
            return ""
        of = "reaching the target" if outlook.arrivals is not None else "a better validation"
        saved_s = max(0.0, self.eta.finish_s.median - self.eta.elapsed_s)
        return (
            f"the chance of {of} is {format_percent(chance, 0)}; "
            f"about {format_duration(saved_s)} saved"
        )

    # What follows from it

    def _look_ahead(self) -> None:
        """Work out how validations go on, in the other thread if there is one."""
        self._take_outlook()
        known = len(self._seen) >= (1 if self._curve else LEAST_SEEN)
        if not known or self._looking or self._has_arrived():
            return
        arguments = (tuple(self._seen), self._last_epoch(), self._curve)
        if self._thread:
            self._looking = self._thread.submit(self._looked_ahead, *arguments)
        else:
            self.outlook, _ = self._looked_ahead(*arguments)

    def _looked_ahead(
        self, seen: tuple[float, ...], last_epoch: float, curve: Curve | None
    ) -> tuple[Outlook, float]:
        from traintime.clock.outlook import look_ahead  # imports numpy

        began = perf_counter()
        watched = Watched.by(self.recipe, self.metric, self._margin, self.guess)
        outlook = look_ahead(watched, seen, last_epoch, curve)
        return outlook, perf_counter() - began

    def _take_outlook(self) -> None:
        if self._looking and self._looking.done():
            if not self._looking.exception():  # a clock that fails must not end a run
                self.outlook, seconds = self._looking.result()
                self._looked_s += seconds
            self._looking = None

    def _has_arrived(self) -> bool:
        goal = self.recipe.goal
        return bool(goal and self._seen and goal.beyond(self._margin).is_reached_by(self._seen[-1]))

    def _last_epoch(self) -> float:
        """Return the epochs after which the run ends if nothing ends it before."""
        step_s = self._steps.step_s
        if self.deadline is None or step_s is None:
            return float(self.recipe.epochs)
        left_s = self._latest_s(self.eta.elapsed_s) - self.eta.elapsed_s
        fitting = fitting_epochs(
            left_s,
            self.forecast.steps_per_epoch,
            step_s,
            self._validations.step_s or 0.0,
            self._evaluate_s(),
        )
        return min(self._done + fitting, float(self.deadline.most_epochs))

    def _evaluate_s(self) -> float:
        """Return what the test takes: as much longer than forecast as the validations did."""
        stages = self.forecast.stages_s
        expected_s = stages["validate"].median / self.forecast.epochs
        factor = (self._validations.step_s or expected_s) / expected_s if expected_s > 0 else 1.0
        return FINISH_S + (stages["evaluate"].median - FINISH_S) * factor

    def _latest_s(self, elapsed_s: float) -> float:
        """Return what the run takes at most, by its deadline."""
        if self.deadline is None:
            return math.inf
        left_s = self.deadline.budget.left_s(elapsed_s, datetime.now().astimezone())
        return elapsed_s + max(0.0, left_s)

    def _update(self, elapsed_s: float) -> None:
        self._take_outlook()
        evaluate_s = self._evaluate_s()
        latest_s = self._latest_s(elapsed_s)
        last_epoch = self._last_epoch()
        end = self._end_of(last_epoch, elapsed_s, evaluate_s).capped(latest_s)
        if self.deadline and last_epoch < self.deadline.most_epochs:
            end = Interval(latest_s, min(end.low, latest_s), latest_s)
        if self._has_arrived():
            now = Interval(elapsed_s, elapsed_s, elapsed_s)
            done = now.shifted(evaluate_s).capped(max(latest_s, elapsed_s))
            self.eta = Eta(elapsed_s, done, now, 1.0)
            return
        epochs, arrivals, endings = self._probabilities(last_epoch)
        if not endings:
            self.eta = Eta(elapsed_s, end, None, None)
            return
        ends = [self._end_of(n, elapsed_s, evaluate_s).capped(latest_s) for n in epochs]
        ends[-1] = end
        finish_s = mixture(list(zip(endings, ends, strict=True))).capped(latest_s)
        target_s, chance = None, None
        if arrivals is not None:
            chance = min(1.0, sum(arrivals))
            times = [self._end_of(n, elapsed_s, 0.0).capped(latest_s) for n in epochs]
            if chance > 0.01:
                tail = self.outlook.tail if self.outlook else 0.1
                target_s = mixture(list(zip(arrivals, times, strict=True)), tail=tail)
                target_s = target_s.capped(latest_s)
        final = self.outlook.final if self.outlook else None
        self.eta = Eta(elapsed_s, finish_s, target_s, chance, final)

    def _probabilities(
        self, last_epoch: float
    ) -> tuple[list[float], list[float] | None, list[float]]:
        """Return validations to come, the probability of arriving at each, and of ending there."""
        outlook, goal = self.outlook, self.recipe.goal
        if outlook:
            # It may have been made some validations ago.
            left = [n for n, epoch in enumerate(outlook.epochs) if epoch > self._validated]
            share = sum(outlook.endings[n] for n in left)
            if left and share > 0:
                arrivals = outlook.arrivals
                return (
                    [outlook.epochs[n] for n in left],
                    None if arrivals is None else [arrivals[n] / share for n in left],
                    [outlook.endings[n] / share for n in left],
                )
        if not (goal and self._curve):
            return [], None, []
        arrivals = self._curve.arrivals(goal, self._seen)[self._validated :]
        epochs = [float(n) for n in range(self._validated + 1, len(self._curve.log_errors) + 1)]
        if not epochs:
            return [], None, []
        missing = max(0.0, 1 - sum(arrivals))
        return epochs, arrivals, [*arrivals[:-1], arrivals[-1] + missing]

    def _end_of(self, epoch: float, elapsed_s: float, afterwards_s: float) -> Interval:
        """Return when an epoch, its validation and what follows will be done."""
        steps = max(0.0, epoch - self._done) * self.forecast.steps_per_epoch
        validations = max(0, math.ceil(epoch - 1e-9) - self._validated)
        parts = (self._steps.seconds(steps), self._validations.seconds(validations))
        return end_after(elapsed_s, parts, afterwards_s)


def remaining(interval: Interval, elapsed_s: float) -> Interval:
    """Return what is left of a total duration; never less than nothing."""
    low, median, high = (
        max(0.0, value - elapsed_s) for value in (interval.low, interval.median, interval.high)
    )
    return Interval(median, low, high, interval.level)
