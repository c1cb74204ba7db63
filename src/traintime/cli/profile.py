"""The profile verb, typed and drawn."""

from __future__ import annotations

from typing import Annotated

import typer

from traintime.cli.running import Json, run_verb

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name or path; 'latest' is the newest.")
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", help="Steps to measure; five seconds of them by default."),
]


def runs_profile(
    run: RunName = "latest",
    steps: Steps = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even while the run is being trained.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where each millisecond of a step goes, what limits it, and what to change."""
    run_verb(lambda: _profile(run, steps, anyway=anyway, as_json=as_json), as_json)


def _profile(run: str, steps: int | None, *, anyway: bool, as_json: bool) -> None:
    from traintime.api.profile import profile_run
    from traintime.cli.output import open_display, print_json

    if as_json:
        print_json(profile_run(run, steps=steps, anyway=anyway).to_json())
        return
    with open_display() as display:
        found = profile_run(run, steps=steps, anyway=anyway, listener=display)
        from traintime.report.step_profile import profile_lines

        display.console.print(profile_lines(found))
