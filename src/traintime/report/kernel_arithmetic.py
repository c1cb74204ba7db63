"""What the terminal shows of the most expensive kernels of a step: how their time comes about."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from traintime.forecast.device_forecast import DeviceForecast, KernelShare
from traintime.report.device_words import UNKNOWN, format_share
from traintime.units import format_bytes, format_count, format_duration

MEANING = (
    "Arithmetic is what the FLOP alone would take at the rate that the kernel reaches, traffic "
    "what its bytes alone would. They overlap, but not wholly, and each launch adds a little. A "
    "product's sides are (rows × inner)·(inner × columns)."
)
COLUMNS = {
    "share": 7,
    "time": 8,
    "arithmetic": 10,
    "traffic": 8,
    "FLOP": 7,
    "bytes": 9,
    "FLOP/byte": 9,
}
"""Headings with the widths of what stands below them."""


def kernel_lines(forecast: DeviceForecast) -> RenderableType:
    """Return the arithmetic of a forecast's most expensive kernels, the most expensive first."""
    share = format_share(sum(kernel.share for kernel in forecast.kernels))
    lines: list[RenderableType] = [
        Text(f"The most expensive kernels, {share} of the step", "bold"),
        Text(),
        _in_columns([Text(heading, "bold") for heading in COLUMNS]),
    ]
    for kernel in forecast.kernels:
        lines += [_name(kernel), _in_columns(_figures(kernel))]
    return Group(*lines, Text(), Text(MEANING, "dim"))


def _in_columns(cells: Sequence[str | Text]) -> Table:
    """Return cells in columns that are the same for each kernel, whose name has its own line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in COLUMNS.values():
        table.add_column(width=width, justify="right", no_wrap=True)
    table.add_row(*cells)
    return table


def _name(kernel: KernelShare) -> Text:
    """Return what a kernel is, how often it runs, and the sides of its product."""
    name = Text(kernel.name, "cyan")
    return name.append(f"  {kernel.phase} × {kernel.count:,}{_product(kernel)}", "default dim")


def _product(kernel: KernelShare) -> str:
    if len(kernel.sides) != 4:
        return ""
    batch, rows, columns, inner = (f"{side:,.0f}" for side in kernel.sides)
    several = f"{batch}×" if batch != "1" else ""
    return f" · {several}({rows}×{inner})·({inner}×{columns})"


def _figures(kernel: KernelShare) -> tuple[str | Text, ...]:
    is_arithmetic = kernel.arithmetic_s >= kernel.traffic_s
    return (
        format_share(kernel.share),
        format_duration(kernel.seconds),
        Text(_time(kernel.arithmetic_s), "bold" if is_arithmetic else ""),
        Text(_time(kernel.traffic_s), "" if is_arithmetic else "bold"),
        format_count(kernel.flops) if kernel.flops else UNKNOWN,
        format_bytes(kernel.num_bytes) if kernel.num_bytes else UNKNOWN,
        _intensity(kernel),
    )


def _time(seconds: float) -> str:
    return format_duration(seconds) if seconds > 0 else UNKNOWN


def _intensity(kernel: KernelShare) -> str:
    if not kernel.num_bytes or not kernel.flops:
        return UNKNOWN
    intensity = kernel.flops / kernel.num_bytes
    return f"{intensity:,.0f}" if intensity >= 10 else f"{intensity:.2g}"
