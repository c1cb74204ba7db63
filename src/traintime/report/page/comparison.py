"""Forecast against fact: what was expected of each quantity, and what came.

All quantities share one axis, the ratio to their own forecast median on a logarithmic scale, so
that half and double lie equally far from the middle and seconds can stand above bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from traintime.report.page.run_files import RunFiles, interval, section
from traintime.units import Interval, format_bytes, format_duration

STAGES = {
    "prepare": "Prepare data",
    "train": "Train",
    "validate": "Validate",
    "evaluate": "Evaluate",
    "checkpoint": "Save",
}

# Half-widths of the axis in octaves, and the ratios that are labelled on it.
TICKS = (
    (0.55, {0.8: "0.8×", 1.0: "1×", 1.25: "1.25×"}),
    (1.7, {0.5: "½×", 0.707: "0.7×", 1.0: "1×", 1.414: "1.4×", 2.0: "2×"}),
    (math.inf, {0.125: "⅛×", 0.25: "¼×", 0.5: "½×", 1.0: "1×", 2.0: "2×", 4.0: "4×", 8.0: "8×"}),
)


@dataclass(frozen=True)
class Row:
    """One quantity.

    Args:
        label: Its name.
        forecast: What was expected.
        fact: What came, or None.
        show: Writes a value of this quantity.
        why_unjudged: Why the fact says nothing about the forecast; empty if it does.
        is_main: Whether it is one of the first that are asked for.
    """

    label: str
    forecast: Interval
    fact: float | None
    show: Callable[[float], str]
    why_unjudged: str = ""
    is_main: bool = False

    @property
    def is_judged(self) -> bool:
        """Whether there is a fact that can be held against the forecast."""
        return self.fact is not None and not self.why_unjudged

    @property
    def is_inside(self) -> bool:
        """Whether the fact lies in the interval."""
        return self.fact is not None and self.fact in self.forecast

    @property
    def deviation(self) -> str:
        """How far the fact lies from the median: '7 % below'."""
        ratio = (self.fact or 0.0) / self.forecast.median if self.forecast.median > 0 else 1.0
        if abs(ratio - 1) < 0.005:
            return "on the median"
        if ratio >= 2:
            return f"{ratio:.1f} times the median"
        return f"{abs(ratio - 1) * 100:.0f} % {'above' if ratio > 1 else 'below'} the median"

    @property
    def verdict(self) -> str:
        """'inside', 'above', 'below', or why nothing can be said."""
        if not self.is_judged:
            return self.why_unjudged or "not measured"
        if self.is_inside:
            return "inside"
        return "above" if (self.fact or 0.0) > self.forecast.high else "below"

    @property
    def range_text(self) -> str:
        """The interval: '17 - 26 s'."""
        low, high = self.show(self.forecast.low), self.show(self.forecast.high)
        low_parts, high_parts = low.split(), high.split()
        same_unit = len(low_parts) == len(high_parts) == 2 and low_parts[1] == high_parts[1]
        return f"{low_parts[0] if same_unit else low} – {high}"

    @property
    def spoken(self) -> str:
        """The row for those who do not see the bar."""
        fact = "" if self.fact is None else f"; fact {self.show(self.fact)}"
        expected = f"{self.show(self.forecast.median)}, interval {self.range_text}"
        return f"{self.label}: forecast {expected}{fact}; {self.verdict}"

    def ratios(self) -> Iterator[float]:
        """The ratios to the median that want to be on the axis."""
        values = (self.forecast.low, self.forecast.high, self.fact if self.is_judged else None)
        if 0 < self.forecast.median < math.inf:
            yield from (value / self.forecast.median for value in values if value)


@dataclass(frozen=True)
class Comparison:
    """All rows on their common axis.

    Args:
        rows: The quantities, the most asked for first.
        octaves: Half-width of the axis; 1 reaches from half to double.
    """

    rows: tuple[Row, ...]
    octaves: float

    @property
    def total(self) -> Row:
        """The row of the whole run."""
        return self.rows[0]

    @property
    def judged(self) -> int:
        """Number of quantities that can be judged."""
        return sum(row.is_judged for row in self.rows)

    @property
    def inside(self) -> int:
        """Number of quantities that fell into their interval."""
        return sum(row.is_judged and row.is_inside for row in self.rows)

    @property
    def ticks(self) -> dict[str, float]:
        """Labels of the axis and their places in percent."""
        labels = next(labels for widest, labels in TICKS if self.octaves <= widest)
        places = {text: self._place_of_ratio(ratio) for ratio, text in labels.items()}
        return {text: place for text, place in places.items() if 1 < place < 99}

    def place(self, row: Row, value: float) -> float:
        """Return where on the axis a value of a row stands, in percent of its length."""
        return self._place_of_ratio(value / row.forecast.median if row.forecast.median > 0 else 1.0)

    def _place_of_ratio(self, ratio: float) -> float:
        octave = math.log2(ratio) if 0 < ratio < math.inf else math.copysign(99, ratio - 1)
        return round(50 + 50 * max(-1.0, min(1.0, octave / self.octaves)), 2)


def compare(run: RunFiles) -> Comparison | None:
    """Return forecast against fact, or None if nothing was forecast."""
    rows = tuple(_rows(run))
    if not rows or not rows[0].is_main:
        return None
    widest = max((abs(math.log2(ratio)) for row in rows for ratio in row.ratios()), default=0.0)
    return Comparison(rows, octaves=1.12 * min(3.0, max(0.35, widest)))


def _rows(run: RunFiles) -> Iterator[Row]:
    forecast, result = run.forecast, run.result
    cut = _why_unjudged(run)
    if total := interval(forecast.get("total_s")):
        yield Row("Whole run", total, run.elapsed_s, format_duration, cut, is_main=True)
    if to_target := interval(forecast.get("time_to_target_s")):
        reached = result.get("time_to_target_s")
        missed = "" if reached is not None else cut or "not reached"
        yield Row("To the target", to_target, reached, format_duration, missed, is_main=True)
    yield from _stage_rows(run, cut)
    if step := interval(forecast.get("step_time_s")):
        measured = interval(result.get("step_time_s"))
        yield Row("One step", step, measured.median if measured else None, format_duration)
    if memory := interval(forecast.get("peak_memory_bytes")):
        yield Row("Peak memory", memory, result.get("peak_memory_bytes"), format_bytes)


def _why_unjudged(run: RunFiles) -> str:
    """Return why the run's duration says nothing about its forecast; nothing if it does."""
    if run.went_to_plan:
        return ""
    if run.did_all:
        return "changed on the way"
    return "ended early" if run.has_ended else "not finished"


def _stage_rows(run: RunFiles, cut: str) -> Iterator[Row]:
    spent, stages = section(run.result, "seconds"), run.expected_stages
    for stage, name in STAGES.items():
        expected = stages.get(stage)
        if expected and expected.median > 0:
            unjudged = cut if stage in ("train", "validate") else ""
            yield Row(name, expected, spent.get(stage), format_duration, unjudged)
