"""The part on several devices of docs/accuracy.md, from results/several_devices.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INTRODUCTION = (
    "The same job on one device and on several, or on a few nodes and on more, from the same "
    "table, with the same batch on each device. The scaling is forecast from what was measured on "
    "fewer; every kind of device was left out of the fit, and of the widths, in turn. The errors "
    "were looked at some ten times while the law's form was chosen. Constants are the efficiencies "
    "of one paper (Calculon), with buckets that the backward hides."
)
REASONS = (
    "What is left is not in a device's name. Some machines do not use the links they have: on "
    "virtual ones without peer access, devices with NVLink exchange as slowly as cards without; "
    "nothing but the interval can hold them. Cards that a bridge can tie are forecast without one, "
    "as most were measured, so pairs with one are forecast too slow. Eight gaming cards share what "
    "their host's memory moves: in some machines each gets as much as of two, in others a quarter. "
    "Data that one host reads and decodes for eight devices comes slower than for one in some "
    "tables; a forecast takes it to keep up. And one process that dispatches for all devices "
    "(DataParallel, TensorFlow without XLA) is slowed down by that more than by any exchange: a "
    "forecast is for a process for each device."
)
WHOLE = (
    "The whole rate, as `traintime forecast` gives it: the error of one device's forecast, which "
    "knows these devices, and the scaling's together. MLPerf's entries are tuned by hand; they are "
    "forecast as PyTorch with compiled steps, too slow by about as much at any number of devices: "
    "what a device does is off, not what several cost."
)
MOST_SHOWN = 8


def section(result: dict[str, Any]) -> list[str]:
    """Return the page's part on several devices, as paragraphs of Markdown."""
    return [
        "### Several devices",
        INTRODUCTION,
        _table(
            [
                "scaling",
                "rows, kinds left out",
                "efficiency measured (10 · 50 · 90 %)",
                "median · 90th percentile",
                "inside 80 %",
                "perfect scaling",
                "constants",
            ],
            [_line(row) for row in result["scaling"].values()],
        ),
        WHOLE,
        _table(
            [
                "rate",
                "rows",
                "median · 90th percentile",
                "inside 80 %",
                "one device alone",
                "one device times their number",
            ],
            [_whole_line(row) for row in result["rate"].values()],
        ),
        REASONS,
        _groups("tied by", result["scaling"]["machine"]["by"]["tied by"]),
        _groups("devices of a machine", result["scaling"]["machine"]["by"]["devices"]),
        _groups("left out", result["scaling"]["machine"]["by"]["left out"]),
        _groups("devices of more nodes", result["scaling"]["nodes"]["by"]["devices"]),
        _groups("devices of MLPerf's entries", result["rate"]["mlperf"]["by"]["devices"]),
        _worst_line(result["scaling"]["machine"]["worst"]),
    ]


def _line(row: dict[str, Any]) -> list[str]:
    return [
        row["title"],
        f"{row['n']:,} in {row['groups']}",
        " · ".join(f"{value:.2f}" for value in row["measured_efficiency"]),
        _pair_of(row["law"]),
        f"{row['law']['coverage_of_80']:.0%}",
        _pair_of(row["baselines"]["perfect scaling"]),
        _pair_of(row["baselines"]["constants"]),
    ]


def _whole_line(row: dict[str, Any]) -> list[str]:
    return [
        row["title"],
        f"{row['n']:,}",
        _pair_of(row["law"]),
        f"{row['law']['coverage_of_80']:.0%}",
        _pair_of(row["one device"]) if row["one device"] else "–",
        _pair_of(row["perfect scaling"]),
    ]


def _groups(heading: str, groups: Mapping[str, Any]) -> str:
    heads = [heading, "rows", "efficiency measured", "median · 90th percentile", "inside 80 %"]
    return _table(
        [*heads, "median log(forecast / actual)"],
        [
            [
                " ".join(name.split()),
                str(row["n"]),
                f"{row['efficiency']:.2f}" if row["efficiency"] else "–",
                _pair_of(row),
                f"{row['coverage_of_80']:.0%}",
                f"{row['bias']:+.2f}",
            ]
            for name, row in groups.items()
        ],
    )


def _worst_line(worst: Sequence[dict[str, Any]]) -> str:
    named = [
        f"{one['model'].partition(':')[2]} on {one['device']} ({one['log_error']:+.2f})"
        for one in worst[:MOST_SHOWN]
    ]
    return "Largest errors, log(forecast / actual): " + ", ".join(named) + "."


def _pair_of(summary: Mapping[str, float]) -> str:
    return f"{summary['median']:.1%} · {summary['p90']:.1%}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
