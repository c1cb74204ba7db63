"""A curve of any length in bounded memory: neighbours are put together as it grows."""

from __future__ import annotations

import math
from typing import NamedTuple

MOST_POINTS = 320
"""More than a terminal has dots for; when there are as many, neighbours become one."""


class Point(NamedTuple):
    """Neighbouring values of a curve.

    Args:
        x: Where they lie, their mean.
        y: Their mean.
        low: The least of them.
        high: The greatest.
    """

    x: float
    y: float
    low: float
    high: float


class Thinned:
    """Keeps a curve; the cost of a value does not grow with their number."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._stride = 1
        self._open: list[tuple[float, float]] = []

    def add(self, x: float | None, y: float | None) -> None:
        """Add a value; one that is missing or not finite is left out."""
        if x is None or y is None or not math.isfinite(y):
            return
        self._open.append((x, y))
        if len(self._open) < self._stride:
            return
        self._points.append(_together(self._open))
        self._open = []
        if len(self._points) == MOST_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [
                Point((a.x + b.x) / 2, (a.y + b.y) / 2, min(a.low, b.low), max(a.high, b.high))
                for a, b in pairs
            ]
            self._stride *= 2

    def points(self) -> tuple[Point, ...]:
        """Return the curve; its last point may stand for fewer values than the others."""
        return (*self._points, *([_together(self._open)] if self._open else []))


def _together(values: list[tuple[float, float]]) -> Point:
    ys = [y for _, y in values]
    count = len(values)
    return Point(sum(x for x, _ in values) / count, sum(ys) / count, min(ys), max(ys))
