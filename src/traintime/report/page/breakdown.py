"""Where the time of the run, the time of a step and the memory go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from traintime.report.page.comparison import STAGES
from traintime.report.page.run_files import RunFiles, listed, section
from traintime.units import format_bytes, format_duration, format_percent


@dataclass(frozen=True)
class Part:
    """A part of a whole.

    Args:
        name: What it is.
        text: Its size, written out.
        share: Its share of the whole.
        width_percent: Length of its bar; the longest bar of its figure has 100.
        key: Decides its colour.
    """

    name: str
    text: str
    share: float
    width_percent: float
    key: str = ""

    @property
    def share_text(self) -> str:
        """The share in percent; small ones as such."""
        return format_percent(self.share, digits=0) if self.share >= 0.01 else "< 1 %"


@dataclass(frozen=True)
class StageBar:
    """One stacked bar: the forecast or the fact."""

    label: str
    total: str
    parts: tuple[Part, ...]


def stage_bars(run: RunFiles) -> tuple[StageBar, ...]:
    """Return the time by stage: the forecast above the fact, on the same scale."""
    expected = _expected_stages(run)
    spent = _spent_stages(run)
    longest = max(sum(expected.values()), sum(spent.values()))
    bars = (("Forecast", expected), ("Fact", spent))
    return tuple(
        _stage_bar(label, stages, longest) for label, stages in bars if any(stages.values())
    )


def stage_table(run: RunFiles) -> list[tuple[str, str, str, str]]:
    """Return key, name, forecast and fact of each stage that took or was to take time."""
    expected, spent = _expected_stages(run), _spent_stages(run)
    return [
        (key, name, _shown(expected.get(key)), _shown(spent.get(key)))
        for key, name in (STAGES | {"other": "Other"}).items()
        if expected.get(key) or spent.get(key)
    ]


def stage_finding(run: RunFiles) -> str:
    """Return in a sentence what share of the run was training; empty if it was not recorded."""
    spent = _spent_stages(run)
    if not spent.get("train"):
        return ""
    return (
        f"{format_percent(spent['train'] / sum(spent.values()), 0)} of the time went into training."
    )


def step_parts(run: RunFiles) -> tuple[Part, ...]:
    """Return the kinds of op of a step, longest first."""
    kinds = listed(run.forecast, "step_by_kind")
    return longest_first(
        {str(kind["kind"]): float(kind["seconds"]) for kind in kinds}, format_duration
    )


def memory_parts(run: RunFiles) -> tuple[Part, ...]:
    """Return what fills the memory, largest first."""
    parts = section(run.forecast, "memory_by_part")
    return longest_first(
        {str(name): float(size or 0) for name, size in parts.items()}, format_bytes
    )


def longest_first(sizes: Mapping[str, float], show: Callable[[float], str]) -> tuple[Part, ...]:
    """Return the parts of a whole that are there, by size."""
    whole, largest = sum(sizes.values()), max(sizes.values(), default=0.0)
    return tuple(
        Part(name, show(size), size / whole, round(100 * size / largest, 2))
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
        if size > 0
    )


def _expected_stages(run: RunFiles) -> dict[str, float]:
    return {key: expected.median for key, expected in run.expected_stages.items()}


def _spent_stages(run: RunFiles) -> dict[str, float]:
    """Return the measured seconds, and as 'other' what the total has beyond them."""
    spent = {key: float(seconds) for key, seconds in section(run.result, "seconds").items()}
    rest = run.elapsed_s - sum(spent.values())
    return spent | {"other": rest} if spent and rest > 0.005 * run.elapsed_s else spent


def _stage_bar(label: str, stages: Mapping[str, float], longest: float) -> StageBar:
    whole = sum(stages.values())
    names = STAGES | {"other": "Other"}
    parts = tuple(
        Part(
            name, format_duration(seconds), seconds / whole, round(100 * seconds / longest, 3), key
        )
        for key, name in names.items()
        if (seconds := stages.get(key, 0.0)) > 0
    )
    return StageBar(label, format_duration(whole), parts)


def _shown(seconds: float | None) -> str:
    return format_duration(seconds) if seconds else "–"
