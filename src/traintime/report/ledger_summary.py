"""What the terminal shows of the ledger: runs by status, and forecasts held against facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from traintime.ledger.summary import LedgerSummary, TrackRecord
from traintime.report.rows import BAR_WIDTH, LABEL_WIDTH, labelled, progress_bar
from traintime.units import format_bytes, format_percent

PROMISED = 0.8
"""Share of runs that the forecast interval is to hold."""
STATUS_STYLES = {
    "finished": "green",
    "target reached": "green",
    "running": "cyan",
    "failed": "red",
    "diverged": "red",
}
NONE = "-"


WITH_INDENT = 80  # narrower than this, a table needs the room of the labels


def ledger_lines(summary: LedgerSummary, width: int) -> RenderableType:
    """Return what the ledger knows.

    Args:
        summary: Of the ledger.
        width: Characters that there are; bars and indents are left out of few.
    """
    rows: list[tuple[str, RenderableType]] = [
        ("Ledger", Text(str(summary.path), "bold")),
        ("", f"{summary.runs:,} runs · {_period(summary)} · {format_bytes(summary.size_bytes)}"),
        ("", ""),
        ("Runs", _status_table(summary.by_status, width)),
        ("", ""),
        ("Forecasts", _verdict(summary.forecasts)),
    ]
    return Group(labelled(rows), *_models(summary, width))


def _period(summary: LedgerSummary) -> str:
    first, last = (_day(began) for began in (summary.first_began, summary.last_began))
    return first if first == last else f"{first} to {last}"


def _day(began: str | None) -> str:
    try:
        return datetime.fromisoformat(began or "").strftime("%Y-%m-%d")
    except ValueError:
        return "?"


def _status_table(counts: Mapping[str, int], width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    total = sum(counts.values())
    for status, count in counts.items():
        name = Text(status, STATUS_STYLES.get(status, "yellow"))
        bar = progress_bar(count / total, BAR_WIDTH) if width >= WITH_INDENT else Text()
        table.add_row(name, f"{count:,}", bar)
    return table


def _verdict(record: TrackRecord) -> RenderableType:
    if not record.runs:
        return Text("none yet of a run that is finished", "dim")
    lines = Text(f"{record.runs:,} held against what the finished runs took\n")
    lines.append_text(_share_within(record))
    lines.append(" took as long as their 80 % interval said\n")
    lines.append(_error(record.median_error), "bold").append(" median error, ")
    lines.append(_error(record.p90_error), "bold").append(" or less in 90 % of the runs")
    return lines


def _share_within(record: TrackRecord) -> Text:
    """Return the share that was promised in green, and what chance does not explain in yellow."""
    share = record.within / record.runs
    by_chance = 2 * math.sqrt(PROMISED * (1 - PROMISED) / record.runs)
    return Text(format_percent(share), "green" if share > PROMISED - by_chance else "yellow")


def _error(error: float | None) -> str:
    return NONE if error is None else format_percent(error)


def _models(summary: LedgerSummary, width: int) -> list[RenderableType]:
    if not summary.by_model:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("\nmodel", overflow="fold", style="cyan")
    for heading in ("\nruns", "in the\n80 %", "median\nerror", "90 %\nbelow"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model, record in summary.by_model.items():
        errors = (_error(record.median_error), _error(record.p90_error))
        table.add_row(Text(model), f"{record.runs:,}", _share_within(record), *errors)
    indent = LABEL_WIDTH if width >= WITH_INDENT else 0
    here = labelled([("Here", summary.machine)])
    return [Text(), here, Text(), Padding(table, (0, 0, 0, indent))]
