"""The commands of `traintime runs`."""

from __future__ import annotations

from typing import Annotated

import typer

from traintime.cli.running import Json, run_verb

runs = typer.Typer(help="The runs made so far.", no_args_is_help=True)

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name or path; 'latest' is the newest.")
]


@runs.command("list")
def runs_list(as_json: Json = False) -> None:
    """List all runs, the newest first."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.list_runs(as_json=as_json), as_json)


@runs.command("show")
def runs_show(run: RunName, as_json: Json = False) -> None:
    """Show a run: recipe, forecast, epochs and result."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.show_run(run, as_json=as_json), as_json)


@runs.command("resume")
def runs_resume(run: RunName, as_json: Json = False) -> None:
    """Go on with a run that was stopped or killed, exactly where it was."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.resume(run, as_json=as_json), as_json)


@runs.command("delete")
def runs_delete(
    run: RunName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a run and its folder."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.delete_run(run, yes=yes, as_json=as_json), as_json)


@runs.command("compare")
def runs_compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...")], as_json: Json = False
) -> None:
    """Put runs side by side: what differs in their recipes, and how they ended."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.compare_runs(names, as_json=as_json), as_json)
