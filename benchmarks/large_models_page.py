"""The part on large language models of docs/accuracy.md, from results/large_models.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADINGS = {
    "source": "source",
    "device": "source and device",
    "model": "model",
    "devices": "devices",
    "kept": "activations",
    "length": "length of a sample",
}


def section(result: dict[str, Any]) -> list[str]:
    """Return the page's part on large language models, as paragraphs of Markdown."""
    return [
        "### Large language models",
        INTRODUCTION,
        *(_groups(HEADINGS[name], groups) for name, groups in result["by"].items()),
        _memory(result),
        _worst(result["worst"]),
        f"Left out: {result['left_out']}.",
    ]


INTRODUCTION = ""


def _groups(heading: str, groups: Mapping[str, Any]) -> str:
    heads = [
        heading,
        "rows",
        "median · 90th percentile",
        "inside 80 %",
        "median log(forecast / actual)",
        "constant share of peak",
        "roofline",
        "called not to fit",
    ]
    return _table(heads, [_line(" ".join(name.split()), row) for name, row in groups.items()])


def _line(name: str, row: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{row['n']:,}",
        _pair(row["law"]),
        f"{row['law']['coverage_of_80']:.0%}",
        f"{row['law']['bias']:+.2f}",
        _pair(row["share of peak"]),
        _pair(row["roofline"]),
        str(row["called not to fit"]),
    ]


def _memory(result: Mapping[str, Any]) -> str:
    wrong = result["called_not_to_fit"]
    line = f"All {result['all']['n']:,} ran, so all fit; {len(wrong):,} of them are called not to"
    return f"{line}: {', '.join(map(_name, wrong))}." if wrong else f"{line}."


def _worst(worst: Sequence[Mapping[str, Any]]) -> str:
    named = [f"{_name(one)} ({one['log_error']:+.2f})" for one in worst]
    return "Largest errors, log(forecast / actual): " + ", ".join(named) + "."


def _name(one: Mapping[str, Any]) -> str:
    return f"{one['model']} of {one['length']:,} tokens on {one['device']}"


def _pair(summary: Mapping[str, float]) -> str:
    return f"{summary['median']:.1%} · {summary['p90']:.1%}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
