"""What the terminal shows of devices: a table of all, or all of one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from traintime.hardware.devices import CONFIDENCES, DeviceSpec, catalogue_source
from traintime.report.rows import LABEL_WIDTH
from traintime.units import format_bytes, format_count, format_rate

WIDTH_WITH_NAMES = 144  # the longest name of the catalogue still fits
UNKNOWN = "-"


def device_table(specs: Sequence[DeviceSpec], width: int) -> RenderableType:
    """Return a table of devices, one line each, and what its columns mean.

    Args:
        specs: In the order to show.
        width: Characters that there are; names are left out where they would be torn.
    """
    with_names = width >= WIDTH_WITH_NAMES
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("device", overflow="fold", style="cyan")
    if with_names:
        table.add_column("name", overflow="fold")
    for heading in ("year", "memory", "bandwidth", "fp32", "half", "TDP"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True, style="dim")
    for spec in specs:
        names = [Text(spec.name)] if with_names else []
        table.add_row(Text(spec.key), *names, *_figures(spec), spec.confidence)
    return Group(table, Text(), Text(_legend(len(specs)), "dim"))


def _figures(spec: DeviceSpec) -> tuple[str, ...]:
    return (
        str(spec.year or UNKNOWN),
        format_bytes(spec.memory_bytes) if spec.memory_bytes else UNKNOWN,
        _bandwidth(spec.bandwidth),
        format_count(spec.fp32_flops) if spec.fp32_flops else UNKNOWN,
        format_count(spec.half_flops) if spec.half_flops else UNKNOWN,
        _power(spec),
    )


def _legend(count: int) -> str:
    codes = " · ".join(f"{code} {meaning}" for code, meaning in CONFIDENCES.items())
    return (
        f"{count} devices. fp32 and half (the better of fp16 and bf16) are dense peaks in FLOP/s: "
        f"no training reaches them.\nSource: {catalogue_source()}. {codes}.\n"
        "One of them: traintime hardware show NAME"
    )


def device_lines(spec: DeviceSpec) -> RenderableType:
    """Return all that is known of a device."""
    made = " · ".join(filter(None, (spec.vendor, spec.architecture, str(spec.year or ""))))
    rows = [
        ("Device", Text.assemble((spec.key, "bold cyan"), f" · {spec.name}")),
        ("", Text(" · ".join(filter(None, (spec.kind, made))))),
        ("peak", Text(_peaks(spec))),
        ("memory", Text(_memory(spec))),
        ("link", Text(_link(spec))),
        ("power", Text(_power(spec))),
        ("cores", Text(_cores(spec))),
        ("source", Text(_source(spec))),
        ("note", Text(spec.note or UNKNOWN)),
    ]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=LABEL_WIDTH - 2, style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, value)
    return table


def _peaks(spec: DeviceSpec) -> str:
    peaks = {
        "fp32": spec.fp32_flops,
        "tf32": spec.tf32_flops,
        "fp16": spec.fp16_flops,
        "bf16": spec.bf16_flops,
        "fp8": spec.fp8_flops,
    }
    known = (f"{precision} {format_rate(peak)}" for precision, peak in peaks.items() if peak)
    return " · ".join(known) or UNKNOWN


def _memory(spec: DeviceSpec) -> str:
    size = format_bytes(spec.memory_bytes) if spec.memory_bytes else "shared with the system"
    return f"{size} at {_bandwidth(spec.bandwidth)}" if spec.bandwidth else size


def _link(spec: DeviceSpec) -> str:
    if not spec.interconnect_bytes_per_s:
        return spec.interconnect or UNKNOWN
    return f"{spec.interconnect} {_bandwidth(spec.interconnect_bytes_per_s)}"


def _power(spec: DeviceSpec) -> str:
    return f"{spec.tdp_w:g} W" if spec.tdp_w else UNKNOWN


def _cores(spec: DeviceSpec) -> str:
    clock = f"{format_count(spec.clock_hz)}Hz" if spec.clock_hz else ""
    count = f"{spec.cores:,}" if spec.cores else ""
    return " at ".join(filter(None, (count, clock))) or UNKNOWN


def _source(spec: DeviceSpec) -> str:
    meaning = CONFIDENCES[spec.confidence]
    return meaning if spec.confidence == "user" else f"{meaning} · {catalogue_source()}"


def _bandwidth(bytes_per_s: float | None) -> str:
    return f"{format_count(bytes_per_s)}B/s" if bytes_per_s else UNKNOWN
