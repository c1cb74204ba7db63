"""The common axis that times of several devices stand on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from traintime.units import Interval

LOG_FROM = 30.0
"""Ratio of the slowest to the fastest from which the fastest would vanish on a linear axis."""
MOST_TICKS = 7
MARGIN = 1.06  # between the last whisker and the end of the axis

_MINUTE, _HOUR, _DAY, _YEAR = 60.0, 3_600.0, 86_400.0, 365 * 86_400.0
_UNITS = {"y": _YEAR, "d": _DAY, "h": _HOUR, "m": _MINUTE, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
ROUND_TIMES = (
    *(digit * 10.0**power for power in range(-6, 0) for digit in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(_MINUTE * count for count in (1, 2, 5, 10, 20, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 5, 10, 20, 50, 100, 200)),
    *(_YEAR * count * 10.0**power for power in range(6) for count in (1, 2, 5)),
)


@dataclass(frozen=True)
class TimeAxis:
    """Where on a line a time stands.

    Args:
        start: Seconds at the left end.
        end: Seconds at the right end.
        is_log: Whether equal lengths are equal ratios.
    """

    start: float
    end: float
    is_log: bool

    def place(self, seconds: float) -> float:
        """Return where a time stands, in percent of the length."""
        if self.is_log:
            share = math.log(max(seconds, self.start) / self.start) / math.log(
                self.end / self.start
            )
        else:
            share = seconds / self.end
        return round(100 * min(1.0, max(0.0, share)), 2)

    @property
    def ticks(self) -> dict[str, float]:
        """Labels of the axis and their places."""
        if self.is_log:
            return {_label(seconds, seconds): self.place(seconds) for seconds in self._log_ticks()}
        step = next((time for time in ROUND_TIMES if self.end / time < MOST_TICKS), self.end)
        times = [step * index for index in range(int(self.end / step) + 1)]
        return {_label(seconds, step): self.place(seconds) for seconds in times}

    def _log_ticks(self) -> list[float]:
        """Return round times that are far enough from each other to be read."""
        gap = math.log(self.end / self.start) / MOST_TICKS
        ticks: list[float] = []
        for time in ROUND_TIMES:
            if self.start <= time <= self.end and (not ticks or math.log(time / ticks[-1]) >= gap):
                ticks.append(time)
        return ticks


def time_axis(intervals: Sequence[Interval]) -> TimeAxis:
    """Return an axis that has room for all intervals; logarithmic where they differ much."""
    fastest = min(interval.median for interval in intervals)
    slowest = max(interval.median for interval in intervals)
    end = MARGIN * max(interval.high for interval in intervals)
    if slowest <= LOG_FROM * fastest:
        return TimeAxis(0.0, end, is_log=False)
    start = min(interval.low for interval in intervals)
    return TimeAxis(start / 2, end, is_log=True)


def _label(seconds: float, scale: float) -> str:
    """Return a time in the largest unit of which there is one in `scale`."""
    if seconds == 0:
        return "0"
    unit, size = next((unit, size) for unit, size in _UNITS.items() if scale >= 0.999 * size)
    return f"{seconds / size:,g} {unit}"
