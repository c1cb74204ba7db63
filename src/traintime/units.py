"""Quantities with an interval, and how they are shown.

Everything inside is SI: seconds, bytes, FLOP per second. GiB, ms and "3 h 10 m" exist only here,
where text is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

KIB, MIB, GIB = 2**10, 2**20, 2**30


@dataclass(frozen=True)
class Interval:
    """A positive quantity that is not known exactly.

    Args:
        median: As likely to be exceeded as not.
        low: Lower end of the central interval.
        high: Upper end of the central interval.
        level: Probability that the truth lies between `low` and `high`.
    """

    median: float
    low: float
    high: float
    level: float = 0.8

    def __post_init__(self) -> None:
        assert self.low <= self.median <= self.high, f"not ordered: {self}"

    @classmethod
    def lognormal(cls, median: float, sigma: float, level: float = 0.8) -> Interval:
        """Return the central interval of a log-normal quantity.

        Args:
            median: The median, in any unit.
            sigma: Standard deviation of the natural logarithm; 0.1 is about ±10 %.
            level: Probability inside the interval.
        """
        spread = math.exp(NormalDist().inv_cdf(0.5 + level / 2) * sigma)
        return cls(median, median / spread, median * spread, level)

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm that this interval's width implies."""
        if self.low <= 0:
            return math.inf
        return math.log(self.high / self.low) / (2 * NormalDist().inv_cdf(0.5 + self.level / 2))

    def scaled(self, factor: float) -> Interval:
        """Return the interval of this quantity times a known positive factor."""
        return Interval(self.median * factor, self.low * factor, self.high * factor, self.level)

    def shifted(self, offset: float) -> Interval:
        """Return the interval of this quantity plus a known offset."""
        return Interval(self.median + offset, self.low + offset, self.high + offset, self.level)

    def plus(self, other: Interval) -> Interval:
        """Return the interval of the sum of two quantities that are large together.

        Args:
            other: Of the same unit and level.
        """
        low, high = self.low + other.low, self.high + other.high
        return Interval(self.median + other.median, low, high, self.level)

    def beside(self, other: Interval) -> Interval:
        """Return the interval of the larger of two quantities that are large together."""
        low, high = max(self.low, other.low), max(self.high, other.high)
        return Interval(max(self.median, other.median), low, high, self.level)

    def capped(self, most: float) -> Interval:
        """Return the interval of this quantity, or of `most` where it would be more."""
        low, median, high = (min(most, value) for value in (self.low, self.median, self.high))
        return Interval(median, low, high, self.level)

    def not_before(self, least: float) -> Interval:
        """Return the interval of this quantity, or of `least` where it would be less."""
        low, median, high = (max(least, value) for value in (self.low, self.median, self.high))
        return Interval(median, low, high, self.level)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def format_duration(seconds: float) -> str:
    """Return a duration as people say it.

    '850 ms', '9.5 s', '19.6 s', '21 s', '2 m 05 s', '3 h 10 m', '2 d 4 h': three digits below a
    second, tenths below 100 s where there are any, then the two largest units. A limit lies where
    rounding would reach the next unit, so '1000 ms' and '60 m 00 s' do not occur.
    """
    if not math.isfinite(seconds):
        return "never" if seconds > 0 else "?"
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 0.9995e-3 else f"{seconds * 1e6:.3g} µs"
    if seconds < 99.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} m"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"


def format_interval(interval: Interval) -> str:
    """Return '21 s (17-26 s)', or '95 s (80 s - 1 m 52 s)' where the ends have different units.

    What has an interval is not known to a tenth, so tenths end at 10 s; an interval too narrow to
    be seen is left out.
    """
    median, low, high = (
        format_duration(seconds if seconds < 9.95 else float(f"{seconds:.0f}"))
        for seconds in (interval.median, interval.low, interval.high)
    )
    if low == high:
        return median
    low_number, _, low_unit = low.partition(" ")
    _, _, high_unit = high.partition(" ")
    if low_unit == high_unit and " " not in low_unit:
        return f"{median} ({low_number}-{high})"
    return f"{median} ({low} - {high})"


def format_bytes(count: float) -> str:
    """Return a size with a binary unit: '61.7 MiB'."""
    for unit, size in (("TiB", 1024 * GIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count >= size:
            return (
                f"{count / size:.3g} {unit}"
                if count < 999 * size
                else f"{count / size:,.0f} {unit}"
            )
    return f"{count:.0f} B"


def format_count(count: float) -> str:
    """Return a count with a short suffix: '61.7 k', '11.2 M'; 999,950 is '1 M', not '1000 k'."""
    for suffix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            shown = count / size
            return f"{shown:.3g} {suffix}" if shown < 999.5 else f"{shown:,.0f} {suffix}"
    return f"{count:.0f}" if count >= 9.95 or count == int(count) else f"{count:.2g}"


def plural(count: int, what: str) -> str:
    """Return a count of things: '1 epoch', '1,024 steps'."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def format_rate(flops_per_s: float) -> str:
    """Return a computing rate: '228 GFLOP/s'."""
    number, _, prefix = format_count(flops_per_s).partition(" ")
    return f"{number} {prefix}FLOP/s"


def format_percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage: 0.9912 is '99.1 %'."""
    return f"{share * 100:.{digits}f} %"
