"""The commands of `traintime runs`."""

from __future__ import annotations

from typing import Annotated

import typer

from traintime.cli.ledger import runs_list
from traintime.cli.profile import runs_profile
from traintime.cli.running import Json, run_verb
from traintime.cli.steer import (
    runs_continue,
    runs_extend,
    runs_pause,
    runs_save,
    runs_set,
    runs_stop,
)

runs = typer.Typer(help="The runs made so far.", no_args_is_help=True)

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name or path; 'latest' is the newest.")
]


@runs.command("show")
def runs_show(run: RunName, as_json: Json = False) -> None:
    """Show a run: recipe, forecast, epochs and result."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.show_run(run, as_json=as_json), as_json)


@runs.command("watch")
def runs_watch(
    run: RunName = "latest",
    once: Annotated[bool, typer.Option("--once", help="Print it once, and do not stay.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a run while it trains, from any terminal: curves, time left, machine, warnings."""
    from traintime.cli import watch

    run_verb(lambda: watch.watch(run, once=once, as_json=as_json), as_json)


@runs.command("resume")
def runs_resume(run: RunName, as_json: Json = False) -> None:
    """Go on with a run that was stopped or killed, exactly where it was."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.resume(run, as_json=as_json), as_json, runs=True)


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


runs.command("list")(runs_list)
runs.command("profile")(runs_profile)
runs.command("set")(runs_set)
runs.command("extend")(runs_extend)
runs.command("pause")(runs_pause)
runs.command("continue")(runs_continue)
runs.command("save")(runs_save)
runs.command("stop")(runs_stop)
