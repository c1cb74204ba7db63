"""The clock of a training loop that is not ours: nothing is forecast, all is seen."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from traintime.clock.eta import Eta
from traintime.clock.speed import Speed, end_after
from traintime.clock.watched import Watched
from traintime.forecast.forecast import mixture
from traintime.recipe.recipe import Target
from traintime.units import Interval

if TYPE_CHECKING:
    from traintime.clock.outlook import Outlook

LEAST_SEEN = 2
"""Values of a metric before anything is said of where it goes."""


class LoopClock:
    """Follows a loop by what passes between its batches.

    What passes between the last batch of an epoch and the first of the next holds validation and
    the start of the loader, so it is followed apart from the other steps.

    Args:
        epochs: Of the loop.
        steps_per_epoch: Batches of an epoch; None until the first one has ended.
        first_epoch: Epochs that an earlier process did; they take no time here.
        watched: Metric and target, if a metric is told.
    """

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int | None = None,
        first_epoch: int = 0,
        watched: Watched | None = None,
    ) -> None:
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.epoch, self.step = first_epoch, 0
        self.watched = watched
        self.outlook: Outlook | None = None
        self.elapsed_s = 0.0
        self._steps, self._boundaries = Speed(), Speed()
        self._is_warm = False
        self._seen: list[tuple[float, float]] = []
        self._value: float | None = None

    @property
    def done(self) -> float:
        """Epochs done, with the fraction of the current one as far as its length is known."""
        return self.epoch + (self.step / self.steps_per_epoch if self.steps_per_epoch else 0.0)

    @property
    def step_s(self) -> float | None:
        """Median of the seconds of a step from now on, as far as any was seen."""
        return self._steps.step_s

    def on_step(self, seconds: float) -> None:
        """Note that a batch was worked on; the first one warms up and tells nothing of others."""
        self.step += 1
        self.elapsed_s += seconds
        if self._is_warm:
            self._steps.see(1, seconds)
        self._is_warm = True

    def on_boundary(self, seconds: float) -> None:
        """Note that the last batch of an epoch was worked on, and what comes between epochs."""
        self.step += 1
        self.elapsed_s += seconds
        usual_s = self._steps.step_s or 0.0
        self._boundaries.see(1, max(seconds - usual_s, 1e-9))
        self._is_warm = True
        self.steps_per_epoch = self.step
        self.epoch, self.step = self.epoch + 1, 0
        if self._value is not None:
            self._seen.append((float(self.epoch), self._value))
            self._value = None
            self._look_ahead()

    def on_metric(self, value: float) -> None:
        """Take the value of the watched metric after this epoch."""
        self._value = value

    @property
    def has_arrived(self) -> bool:
        """Whether the newest value of the metric is as good as the target."""
        values = [value for _, value in self._seen[-1:]]
        values += [] if self._value is None else [self._value]
        watched = self.watched
        if watched is None or watched.target is None or not values:
            return False
        return Target(watched.metric, watched.target).is_reached_by(values[-1])

    def _look_ahead(self) -> None:
        if self.watched is None or len(self._seen) < LEAST_SEEN or self.epoch >= self.epochs:
            return
        epochs, values = zip(*self._seen, strict=True)
        with suppress(Exception):  # a clock that fails, or has no numpy, must not end a loop
            from traintime.clock.outlook import look_ahead

            self.outlook = look_ahead(self.watched, values, float(self.epochs), epochs=epochs)

    def eta(self, waiting_s: float = 0.0) -> Eta | None:
        """Return what is known of the end, or None before a step tells anything.

        Args:
            waiting_s: Seconds since the last step.
        """
        elapsed_s = self.elapsed_s + waiting_s
        if self.epoch >= self.epochs:
            now = Interval(elapsed_s, elapsed_s, elapsed_s)
            return Eta(elapsed_s, now, None, None)
        finish_s = self._end_of(self.epochs, elapsed_s)
        if finish_s is None:
            return None
        outlook = self.outlook
        if outlook is None or outlook.arrivals is None:
            return Eta(elapsed_s, finish_s, None, None, outlook.final if outlook else None)
        if self.has_arrived:
            now = Interval(elapsed_s, elapsed_s, elapsed_s)
            return Eta(elapsed_s, finish_s, now, 1.0, outlook.final)
        arrivals = [
            (chance, at)
            for epoch, chance in zip(outlook.epochs, outlook.arrivals, strict=True)
            if (at := self._end_of(epoch, elapsed_s)) and epoch > self.epoch
        ]
        chance = min(1.0, sum(chance for chance, _ in arrivals))
        # Of a loop of others nothing is known but its metric: the whole width of its futures stays.
        target_s = mixture(arrivals) if chance > 0.01 else None
        return Eta(elapsed_s, finish_s, target_s, chance, outlook.final)

    def _end_of(self, epoch: float, elapsed_s: float) -> Interval | None:
        """Return when an epoch and what follows on it will be done."""
        if self.steps_per_epoch is None:
            return None
        steps = self._steps.seconds(max(0.0, epoch - self.done) * self.steps_per_epoch)
        if steps is None:
            return None
        between = self._boundaries.seconds(max(0, math.ceil(epoch) - self.epoch))
        # The step that is worked on is among those to come; it began when the last one ended.
        return end_after(self.elapsed_s, (steps, between)).not_before(elapsed_s)
