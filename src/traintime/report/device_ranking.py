"""What the terminal shows of several devices that could do a job: a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from traintime.forecast.device_forecast import DeviceForecast
from traintime.report.device_words import (
    TIERS,
    UNKNOWN,
    device_label,
    fitting_first,
    format_chance,
    format_throughput,
    how_to_have_the_end,
    job_title,
    short_interval,
    short_time,
)
from traintime.units import GIB, format_count

WIDE = 98  # all figures of a device fit beside the longest key of the catalogue
WITH_EVIDENCE = 126  # and so does the evidence in full
WITH_PRECISION = 132  # and the precision that each is used in


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Args:
        heading: In two lines, so that the column stays narrow.
        write: Returns the cell of a forecast.
        from_width: Of the table; the column is left out of a narrower one.
    """

    heading: str
    write: Callable[[DeviceForecast], str]
    from_width: int = 0


def _memory(forecast: DeviceForecast) -> str:
    used = forecast.peak_memory_bytes.median / GIB
    shown = f"{used:.1f}" if used < 99.95 else f"{used:.0f}"
    capacity = forecast.capacity_bytes
    return f"{shown}/{capacity / GIB:.0f}" if capacity else shown


def _epoch(forecast: DeviceForecast) -> str:
    return short_time(forecast.epoch_time_s.median) if forecast.epoch_time_s else UNKNOWN


def _to_the_end(forecast: DeviceForecast) -> str:
    return short_interval(forecast.total_s) if forecast.total_s else UNKNOWN


COLUMNS = (
    Column("\nin", lambda forecast: forecast.precision, WITH_PRECISION),
    Column("\nstep", lambda forecast: short_time(forecast.step_time_s.median)),
    Column("\nepoch", _epoch, WIDE),
    Column("to the end\n(80 %)", _to_the_end),
    Column("samples\nper s", lambda forecast: format_throughput(forecast.samples_per_s), WIDE),
    Column("memory\nGiB", _memory),
    Column("\nfits", lambda forecast: format_chance(forecast.chance_it_fits)),
    Column(
        "FLOP\nper J",
        lambda forecast: (
            format_count(forecast.flops_per_joule) if forecast.flops_per_joule else UNKNOWN
        ),
        WIDE,
    ),
)


def device_forecast_table(forecasts: Sequence[DeviceForecast], width: int) -> RenderableType:
    """Return a table of devices, one line each, and what its columns mean.

    Args:
        forecasts: At least one, all of one job, in the order to show; those that do not fit come
            last.
        width: Characters that there are; the figures asked for least are left out of few.
    """
    columns = [column for column in COLUMNS if width >= column.from_width]
    last = "\nevidence" if width >= WITH_EVIDENCE else "\nfrom"
    heads = zip(
        *(head.split("\n") for head in ("\ndevice", *(c.heading for c in columns), last)),
        strict=True,
    )
    ordered = fitting_first(forecasts)
    rows = [
        (
            device_label(forecast),
            *(column.write(forecast) for column in columns),
            forecast.evidence if width >= WITH_EVIDENCE else _tier(forecast),
        )
        for forecast in ordered
    ]
    styles = ["" if forecast.fits else "dim" for forecast in ordered]
    table = _aligned([*heads], rows, styles)
    title = Text(f"{forecasts[0].model} on {_count(len(forecasts), 'device')}", "bold")
    title.append(f"\n{job_title(*forecasts)}", "default not bold dim")
    return Group(title, Text(), table, Text(), Text(_legend(forecasts, width), "dim"))


def _aligned(
    heads: Sequence[Sequence[str]], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> Text:
    """Return lines whose cells stand below each other, the first and the last to the left.

    A table of rich's takes longer to lay out 190 lines than the forecasts take to make.
    """
    widths = [max(map(len, column)) for column in zip(*heads, *rows, strict=True)]
    text = Text(no_wrap=True, overflow="fold")
    for cells, style in [*((head, "bold") for head in heads), *zip(rows, styles, strict=True)]:
        first, *middle, last = cells
        right = "".join(
            f"  {cell:>{width}}" for cell, width in zip(middle, widths[1:-1], strict=True)
        )
        is_head = style == "bold"
        text.append(f"{first:<{widths[0]}}", style if is_head else f"{style} cyan".strip())
        text.append(right, style).append(f"  {last}\n", "bold" if is_head else "dim")
    text.right_crop(1)
    return text


def _tier(forecast: DeviceForecast) -> str:
    return TIERS.get(forecast.evidence, forecast.evidence)


def _legend(forecasts: Sequence[DeviceForecast], width: int) -> str:
    lines = ["Memory: peak and capacity of one device."]
    if width >= WIDE:
        lines[0] += " FLOP per J: of products, at the rated power."
    if width < WITH_EVIDENCE:
        given = {forecast.evidence for forecast in forecasts}
        lines += _tiers(given)
    if too_large := sum(not forecast.fits for forecast in forecasts):
        lines.append(f"Last: {_count(too_large, 'device')} with probably too little memory.")
    if not forecasts[0].total_s:
        lines.append(f"{how_to_have_the_end(forecasts[0])}.")
    lines.append(f"All of one: device={device_label(fitting_first(forecasts)[0])} --explain")
    return "\n".join(lines)


def _tiers(given: Set[str]) -> list[str]:
    """Return what the short words for evidence mean; of a word for two, what both have."""
    meanings: dict[str, str] = {}
    for evidence, tier in TIERS.items():
        if evidence in given:
            meanings.setdefault(tier, evidence)
    shown = [f"{tier} = {evidence}" for tier, evidence in meanings.items()]
    return [f"From: {', '.join(shown)}."] if shown else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
