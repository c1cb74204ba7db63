"""How long steps take from now on: a prior, what was seen, and how much that wanders.

What was seen is kept in at most `MOST_BLOCKS` stretches of equal length, which double when there is
no room for more. So a run is always looked at on the scale of its own length, on which a burst of
another program is noise and a slow-down that lasts is a change. The logarithm of a stretch's mean
step time is taken as a level that wanders (a random walk) and noise around it: the local level
model of Harvey 1989, "Forecasting, Structural Time Series Models and the Kalman Filter". The two
variances come from the differences of neighbours, whose covariance is minus that of the noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from traintime.units import Interval

MOST_BLOCKS = 32
NOISE_SIGMA, WALK_SIGMA = 0.05, 0.01
"""Of a stretch's log step time around its level, and of the level from one to the next, before any
was seen."""
PRIOR_BLOCKS = 4
"""Differences that this counts as."""
UNKNOWN_SIGMA = 1.0
"""Of a step's time that nothing was forecast of."""
LEAST_SIGMA = 0.015
"""What no number of stretches tells: the rest may be another kind of time. Set by the runs on MNIST
and Fashion-MNIST that `benchmarks/record_runs.py` recorded."""
MOST_SIGMA = 0.7
PAUSE_FACTOR, LEAST_PAUSE_S = 20.0, 2.0
"""A window so many times as long as usual, and at least so long, is a pause: a machine that slept,
a process that was stopped. It has passed, and says nothing of steps to come."""
LEAST_BLOCKS, LASTING = 4, 3
"""Stretches before anything is usual; windows in a row that are no pause any more."""


class Speed:
    """Follows the time of a step.

    Args:
        prior: Seconds of a step as forecast, if it was.
        block_s: Seconds of the first stretches; a run of a minute doubles them a few times.
    """

    def __init__(self, prior: Interval | None = None, block_s: float = 0.2) -> None:
        self._prior = (math.log(prior.median), prior.sigma**2) if prior else None
        self._block_s = block_s
        self._blocks: list[tuple[float, float]] = []
        self._open = (0.0, 0.0)
        self._pauses = 0

    def see(self, steps: float, seconds: float) -> None:
        """Learn from steps that were taken.

        Args:
            steps: How many.
            seconds: What they took together.
        """
        if steps <= 0 or seconds <= 0 or self._is_pause(seconds / steps, seconds):
            return
        self._open = (self._open[0] + steps, self._open[1] + seconds)
        if self._open[1] < self._block_s:
            return
        self._blocks.append(self._open)
        self._open = (0.0, 0.0)
        if len(self._blocks) > MOST_BLOCKS:
            pairs = zip(self._blocks[::2], self._blocks[1::2], strict=False)
            left = self._blocks[-1:] if len(self._blocks) % 2 else []
            self._blocks = [(a[0] + b[0], a[1] + b[1]) for a, b in pairs] + left
            self._block_s *= 2

    def _is_pause(self, step_s: float, seconds: float) -> bool:
        """Say whether the process was stopped rather than slowed down: once, for long."""
        if len(self._blocks) < LEAST_BLOCKS or seconds < LEAST_PAUSE_S:
            return False
        self._pauses = self._pauses + 1 if step_s > PAUSE_FACTOR * (self.step_s or step_s) else 0
        return 0 < self._pauses < LASTING

    @property
    def step_s(self) -> float | None:
        """Median of the seconds of a step from now on; None if nothing is known."""
        level = self._level()
        return math.exp(level[0]) if level else None

    def seconds(self, steps: float) -> Interval | None:
        """Return what so many further steps take; None if nothing is known of any."""
        level = self._level()
        if level is None:
            return None
        mean, variance, walk = level
        seconds = steps * math.exp(mean)
        # The mean of a random walk over a horizon has a third of the variance at its end.
        ahead = walk * seconds / self._block_s / 3
        sigma = math.sqrt(LEAST_SIGMA**2 + variance + ahead)
        return Interval.lognormal(seconds, min(MOST_SIGMA, sigma))

    def _level(self) -> tuple[float, float, float] | None:
        """Return mean and variance of the level now, and the variance of its walk by stretch."""
        blocks = self._blocks or ([self._open] if self._open[1] else [])
        if not blocks:
            return (*self._prior, 0.0) if self._prior else None
        ys = [math.log(seconds / steps) for steps, seconds in blocks]
        noise, walk = _variances(ys)
        mean, variance = self._prior or (ys[0], UNKNOWN_SIGMA**2)
        variance = max(variance, (ys[0] - mean) ** 2)  # a forecast that is far off is let go
        for y in ys:
            variance += walk
            gain = variance / (variance + noise)
            mean += gain * (y - mean)
            variance *= 1 - gain
        return mean, variance, walk


def end_after(
    elapsed_s: float, parts: Iterable[Interval | None], afterwards_s: float = 0.0
) -> Interval:
    """Return when what is still to come will be done, its parts being off independently.

    Args:
        elapsed_s: What has passed.
        parts: Durations; None or nothing where there is none.
        afterwards_s: What follows, known well enough.
    """
    known = [part for part in parts if part and part.median > 0]
    seconds = sum(part.median for part in known) + afterwards_s
    if seconds <= 0:
        return Interval(elapsed_s, elapsed_s, elapsed_s)
    unknown_s = math.hypot(*(part.median * part.sigma for part in known))
    return Interval.lognormal(seconds, unknown_s / seconds).shifted(elapsed_s)


def _variances(ys: Sequence[float]) -> tuple[float, float]:
    """Return the variances of noise and walk, as far as the differences of neighbours tell."""
    differences = [after - before for before, after in itertools.pairwise(ys)]
    count = len(differences)
    square = sum(d * d for d in differences)
    product = sum(a * b for a, b in itertools.pairwise(differences))
    known, prior_walk = NOISE_SIGMA**2, WALK_SIGMA**2
    squares = (square + PRIOR_BLOCKS * (prior_walk + 2 * known)) / (count + PRIOR_BLOCKS)
    products = (product - PRIOR_BLOCKS * known) / (max(0, count - 1) + PRIOR_BLOCKS)
    noise = min(max(-products, 0.0), squares / 2)
    return max(noise, 1e-8), max(squares - 2 * noise, 1e-8)
