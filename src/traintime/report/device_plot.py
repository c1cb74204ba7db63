"""Forecasts for devices as one HTML page that needs no network.

One device is drawn with what its step and its memory are spent on, several as bars to compare.
`page/device_plot.html.j2` lays them out; their look is that of the report of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from traintime.forecast.device_forecast import DeviceForecast
from traintime.report.device_words import (
    UNKNOWN,
    device_label,
    device_title,
    fitting_first,
    format_chance,
    format_share,
    format_throughput,
    how_to_have_the_end,
    job_title,
    limit_sentence,
    memory_sentence,
    other_assumptions,
    shortages,
)
from traintime.report.html import inlined, page_environment
from traintime.report.page.breakdown import Part, longest_first
from traintime.report.page.time_axis import TimeAxis, time_axis
from traintime.units import (
    Interval,
    format_bytes,
    format_count,
    format_duration,
    format_interval,
)

COLOURS = ("train", "validate", "prepare", "evaluate", "checkpoint")
"""Of the largest parts of a stripe, as `page/style.css` names them; the others share one."""

LEAST_SHARE = 1e-3
"""Of a step, from which a kind of operation is drawn."""


@dataclass(frozen=True)
class Figure:
    """A large number of the page."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Filling:
    """What the memory of a device is filled with, in percent of the drawn bar.

    Args:
        parts: From left to right.
        low: Low end of the peak.
        high: High end of the peak.
        capacity: Where the memory ends; None if there is no such end.
        capacity_text: How much it is.
    """

    parts: tuple[Part, ...]
    low: float
    high: float
    capacity: float | None
    capacity_text: str


@dataclass(frozen=True)
class Row:
    """A device among several.

    Args:
        label: As it is typed.
        name: As it is called.
        total: Time to the end, written out.
        note: Its interval.
        low: Place of the low end, in percent.
        median: Place of the median.
        high: Place of the high end.
        details: All else that is known, for a pointer.
        fits: Whether the job is likely to fit.
        memory: Chance that it does.
    """

    label: str
    name: str
    total: str
    note: str
    low: float
    median: float
    high: float
    details: str
    fits: bool
    memory: str


def render_device_plot(forecasts: Sequence[DeviceForecast], version: str = "") -> str:
    """Return a page with the forecast for one device, or with several side by side.

    Args:
        forecasts: At least one, all of one job.
        version: Of traintime, for the foot of the page.
    """
    several = len(forecasts) > 1
    sections = _several_sections(forecasts) if several else _one_sections(forecasts[0])
    shared = {
        "file": inlined,
        "assumptions": [
            assumption
            for assumption in other_assumptions(forecasts[0])
            if all(assumption in forecast.assumptions for forecast in forecasts)
        ],
        "level": forecasts[0].longest_s.level,
        "version": version,
    }
    return page_environment().get_template("device_plot.html.j2").render(shared | sections)


def _one_sections(forecast: DeviceForecast) -> dict[str, Any]:
    return {
        "title": f"{forecast.model} on {device_title(forecast)}",
        "lead": f"{_capital(job_title(forecast))}.",
        "evidence": forecast.evidence,
        "figures": _figures(forecast),
        "limit": f"{_capital(limit_sentence(forecast))}.",
        "step_parts": step_parts(forecast),
        "memory": f"{memory_sentence(forecast)}.",
        "shortages": shortages(forecast),
        "filling": memory_filling(forecast),
        "facts": _facts(forecast),
    }


def _finding(forecast: DeviceForecast) -> str:
    return "All epochs with their validation" if forecast.total_s else how_to_have_the_end(forecast)


def _several_sections(forecasts: Sequence[DeviceForecast]) -> dict[str, Any]:
    first = forecasts[0]
    axis = time_axis([forecast.longest_s for forecast in forecasts])
    return {
        "title": f"{first.model} on {len(forecasts)} devices",
        "lead": f"{_capital(job_title(*forecasts))}. {_fastest(forecasts)}",
        "heading": "Time to the end" if first.total_s else "Time of a step",
        "finding": _finding(first),
        "axis": axis,
        "rows": [_row(forecast, axis) for forecast in by_time(forecasts)],
    }


def by_time(forecasts: Sequence[DeviceForecast]) -> list[DeviceForecast]:
    """Return forecasts, the fastest first; those that do not fit behind all others."""
    return fitting_first(sorted(forecasts, key=lambda forecast: forecast.longest_s.median))


def step_parts(forecast: DeviceForecast) -> tuple[Part, ...]:
    """Return the kinds of operation that a step is spent on, the longest first."""
    sizes = {kind.kind: kind.seconds for kind in forecast.step_by_kind if kind.share >= LEAST_SHARE}
    return _coloured(longest_first(sizes, format_duration))


def memory_filling(forecast: DeviceForecast) -> Filling:
    """Return what the memory is filled with; the bar is as long as the larger of need and room."""
    peak, capacity = forecast.peak_memory_bytes, forecast.capacity_bytes
    parts = _coloured(longest_first(forecast.memory_by_part, format_bytes))
    needed = sum(forecast.memory_by_part.values())
    length = max(peak.high, capacity or 0.0, needed) / 100
    return Filling(
        parts=tuple(_with_width(part, part.share * needed / length) for part in parts),
        low=round(peak.low / length, 2),
        high=round(peak.high / length, 2),
        capacity=round(capacity / length, 2) if capacity else None,
        capacity_text=format_bytes(capacity) if capacity else "",
    )


def _coloured(parts: Sequence[Part]) -> tuple[Part, ...]:
    keys = (*COLOURS, *("other" for _ in parts))
    return tuple(
        Part(part.name, part.text, part.share, part.width_percent, key)
        for part, key in zip(parts, keys, strict=False)
    )


def _with_width(part: Part, width_percent: float) -> Part:
    return Part(part.name, part.text, part.share, round(width_percent, 2), part.key)


def _figures(forecast: DeviceForecast) -> list[Figure]:
    chance = f"with {forecast.longest_s.level * 100:.0f} % chance"
    throughput = f"{format_throughput(forecast.samples_per_s)} samples/s"
    if forecast.total_s is None or forecast.epoch_time_s is None:
        return [_figure("A step", forecast.step_time_s, f"{chance} · {throughput}")]
    return [
        _figure("To the end", forecast.total_s, chance),
        _figure("An epoch", forecast.epoch_time_s),
        _figure("A step", forecast.step_time_s, f"· {throughput}"),
    ]


def _figure(name: str, interval: Interval, more: str = "") -> Figure:
    value, bounds = _apart(interval)
    return Figure(name, value, f"{bounds} {more}".strip())


def _apart(interval: Interval) -> tuple[str, str]:
    """Return a time and its interval; the latter is empty if it is too narrow to be seen."""
    value, _, bounds = format_interval(interval).partition(" (")
    return value, bounds.removesuffix(")")


def _facts(forecast: DeviceForecast) -> list[tuple[str, str]]:
    efficiency = forecast.flops_per_joule
    pairs = {
        "Model": forecast.model_source,
        "Parameters": f"{forecast.parameters:,}",
        "To learn a sample": f"{format_count(forecast.flops_per_step / forecast.batch_size)}FLOP",
        "Share of the peak": format_share(forecast.utilization),
        "Per joule": f"{format_count(efficiency)}FLOP" if efficiency else UNKNOWN,
        "Device": device_label(forecast),
    }
    stages = {name.capitalize(): format_interval(time) for name, time in forecast.stages_s.items()}
    return list((pairs | stages).items())


def _fastest(forecasts: Sequence[DeviceForecast]) -> str:
    best = by_time(forecasts)[0]
    if not best.fits:
        return "It is likely to fit into the memory of none of them."
    return f"The fastest is {device_title(best)}: {format_interval(best.longest_s)}."


def _row(forecast: DeviceForecast, axis: TimeAxis) -> Row:
    total = forecast.longest_s
    value, bounds = _apart(total)
    return Row(
        label=device_label(forecast),
        name=device_title(forecast),
        total=value,
        note=bounds,
        low=axis.place(total.low),
        median=axis.place(total.median),
        high=axis.place(total.high),
        details=_details(forecast),
        fits=forecast.fits,
        memory=format_chance(forecast.chance_it_fits),
    )


def _details(forecast: DeviceForecast) -> str:
    return (
        f"{device_title(forecast)}\n{format_interval(forecast.step_time_s)} a step, "
        f"{format_throughput(forecast.samples_per_s)} samples/s\n{memory_sentence(forecast)}\n"
        f"Limited by {forecast.limited_by}\n{_capital(forecast.evidence)}"
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
