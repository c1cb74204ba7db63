"""What the terminal shows of a forecast for a device: times, what a step is spent on, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.kind_share import KindShare
from traintime.report.device_words import (
    device_title,
    format_share,
    format_throughput,
    how_to_have_the_end,
    job_title,
    limit_sentence,
    memory_sentence,
    other_assumptions,
    shortages,
)
from traintime.report.rows import BAR_WIDTH, LABEL_WIDTH, labelled, progress_bar
from traintime.units import (
    Interval,
    format_bytes,
    format_count,
    format_duration,
    format_interval,
)

MOST_KINDS = 8
SIZE_WIDTH, SHARE_WIDTH, GAPS = 9, 5, 6  # of a breakdown, besides its names and bars
SHADE = "▒"  # from the low to the high end of an interval
UNSURE_FROM = 0.9  # a lower chance of fitting is shown as a warning


@dataclass(frozen=True)
class Part:
    """A line of a breakdown.

    Args:
        name: What it is.
        size: Written out.
        share: Of the whole.
        draw: Returns its bar at a width.
    """

    name: str
    size: str
    share: float
    draw: Callable[[int], Text]


def device_forecast_lines(forecast: DeviceForecast, width: int) -> RenderableType:
    """Return all that is known of a job on one kind of device.

    Args:
        forecast: What to show.
        width: Characters that there are; bars shorten where they are few.
    """
    parts = (_step_parts(forecast), _memory_parts(forecast))
    name_width = max(len(part.name) for rows in parts for part in rows)
    step, memory = (_breakdown(rows, name_width, width - LABEL_WIDTH) for rows in parts)
    rows: list[tuple[str, RenderableType]] = [
        *_time_rows(forecast),
        ("", step),
        ("limited by", Text(limit_sentence(forecast))),
        ("memory", Text(memory_sentence(forecast))),
        *(("", Text(line, "yellow")) for line in shortages(forecast)),
        ("", memory),
        *_fact_rows(forecast),
    ]
    title = Text.assemble((f"{forecast.model} on {device_title(forecast)}", "bold"))
    title.append(f"\n{job_title(forecast)}", "dim")
    return Group(title, Text(), labelled(rows))


def _time_rows(forecast: DeviceForecast) -> list[tuple[str, RenderableType]]:
    known = forecast.longest_s
    total = Text.assemble((format_interval(known), "bold cyan"))
    total.append(f"   {_level(known)} interval · {forecast.evidence}", "dim")
    stages = " · ".join(
        f"{name} {format_duration(interval.median)}" for name, interval in forecast.stages_s.items()
    )
    speed = (
        f"{format_throughput(forecast.samples_per_s)} samples/s · "
        f"{format_share(forecast.utilization)} of the peak"
    )
    if forecast.epoch_time_s is None:
        return [
            ("A step", total),
            ("", Text(how_to_have_the_end(forecast), "dim")),
            ("speed", Text(speed)),
        ]
    return [
        ("Forecast", total),
        ("by stage", Text(stages)),
        ("an epoch", Text(format_interval(forecast.epoch_time_s))),
        ("a step", Text(f"{format_interval(forecast.step_time_s)} · {speed}")),
    ]


def _level(interval: Interval) -> str:
    return f"{interval.level * 100:.0f} %"


def _fact_rows(forecast: DeviceForecast) -> list[tuple[str, RenderableType]]:
    work = format_count(forecast.flops_per_step / forecast.batch_size)
    facts = (
        f"{forecast.parameters:,} parameters",
        f"{work}FLOP to learn a sample",
        forecast.model_source,
    )
    rows: list[tuple[str, RenderableType]] = [("model", Text(" · ".join(facts)))]
    if forecast.flops_per_joule:
        efficiency = f"{format_count(forecast.flops_per_joule)}FLOP/J at the rated power"
        rows.append(("efficiency", Text(efficiency)))
    rows += [
        ("assuming" if index == 0 else "", Text(assumption, "dim"))
        for index, assumption in enumerate(other_assumptions(forecast))
    ]
    return rows


def _step_parts(forecast: DeviceForecast) -> list[Part]:
    kinds = [kind for kind in forecast.step_by_kind if kind.seconds > 0]
    num_shown = len(kinds) if len(kinds) <= MOST_KINDS else MOST_KINDS - 1
    parts = [_step_part(kind.kind, [kind]) for kind in kinds[:num_shown]]
    return [*parts, _step_part("the rest", kinds[num_shown:])] if kinds[num_shown:] else parts


def _step_part(name: str, kinds: Sequence[KindShare]) -> Part:
    share = sum(kind.share for kind in kinds)
    seconds = sum(kind.seconds for kind in kinds)
    return Part(name, format_duration(seconds), share, partial(progress_bar, share))


def _memory_parts(forecast: DeviceForecast) -> list[Part]:
    """Return what the memory is filled with; shares are of the capacity if there is one."""
    peak = forecast.peak_memory_bytes
    whole = forecast.capacity_bytes or peak.median
    parts = [
        Part(name, format_bytes(size), size / whole, partial(progress_bar, size / whole))
        for name, size in sorted(forecast.memory_by_part.items(), key=lambda item: -item[1])
        if size > 0
    ]
    if forecast.capacity_bytes:
        filled = peak.scaled(1 / whole)
        draw = partial(_filling_bar, filled, _fit_style(forecast))
        parts.insert(0, Part("in all", format_bytes(peak.median), filled.median, draw))
    return parts


def _fit_style(forecast: DeviceForecast) -> str:
    if not forecast.fits:
        return "red"
    chance = forecast.chance_it_fits
    return "yellow" if chance is not None and chance < UNSURE_FROM else "green"


def _filling_bar(filled: Interval, style: str, width: int) -> Text:
    """Return a bar that is solid to the low end of an interval and shaded to its high end."""
    low, high = (round(min(1.0, share) * width) for share in (filled.low, filled.high))
    bar = Text("█" * low + SHADE * (high - low), style)
    return bar.append("·" * (width - high), "grey35")


def _breakdown(parts: Sequence[Part], name_width: int, width: int) -> Table:
    """Return a line with a bar for each part.

    Args:
        parts: In the order to show.
        name_width: Of the first column; the same in several breakdowns puts their bars in line.
        width: Of it all.
    """
    share_width = max(SHARE_WIDTH, *(len(format_share(part.share)) for part in parts))
    bar_width = min(BAR_WIDTH, width - name_width - SIZE_WIDTH - share_width - GAPS)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=name_width, no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(width=SIZE_WIDTH, justify="right", no_wrap=True)
    table.add_column(width=share_width, justify="right", no_wrap=True, style="dim")
    for part in parts:
        bar = part.draw(max(1, bar_width))
        table.add_row(part.name, bar, part.size, format_share(part.share))
    return table
