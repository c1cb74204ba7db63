"""The ledger verb, and the list of runs: parsed, handed to the library, drawn."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from traintime.cli.output import print_json
from traintime.cli.running import Json, run_verb

SHOWN = 50
"""Runs that are listed unless more are asked for."""


def runs_list(
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help=f"How many; {SHOWN} unless given.", show_default=False),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    as_json: Json = False,
) -> None:
    """List the runs, the newest first; with --json all, unless --limit is given."""
    run_verb(lambda: list_runs(limit, show_all=show_all, as_json=as_json), as_json)


def list_runs(limit: int | None, *, show_all: bool, as_json: bool) -> None:
    """List the newest runs, and say how many more there are."""
    from traintime.api import runs as runs_api

    if as_json:
        rows = runs_api.list_runs(None if show_all else limit)
        print_json([dataclasses.asdict(row) for row in rows])
        return
    from traintime.cli.display import make_console
    from traintime.report.terminal import runs_table

    console = make_console()
    rows = runs_api.list_runs(None if show_all else limit or SHOWN)
    if not rows:
        console.print("No run yet; make one with: traintime demo")
        return
    console.print(runs_table(rows))
    more = 0 if show_all else runs_api.count_runs() - len(rows)
    if more > 0:
        console.print(f"... and {more:,} more; --all shows them, --limit N so many", style="dim")


def show_ledger(*, as_json: bool) -> None:
    """Show what the ledger knows."""
    from traintime.api.ledger import ledger_summary

    summary = ledger_summary()
    if as_json:
        print_json(summary.to_json())
        return
    from traintime.cli.display import make_console
    from traintime.report.ledger_summary import ledger_lines

    console = make_console()
    if summary.runs:
        console.print(ledger_lines(summary, console.width))
    else:
        console.print("No run yet; make one with: traintime demo")
