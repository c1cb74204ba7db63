"""The command line: verbs, parsed and handed to the library."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from traintime.cli.forecast import SortBy, TakesPlotFile
from traintime.cli.hardware import hardware

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    name="traintime",
    help="How long will it take to train this model, on this machine, to the quality I need?",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs = typer.Typer(help="The runs made so far.", no_args_is_help=True)
app.add_typer(runs, name="runs")
app.add_typer(hardware, name="hardware")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE.yaml] [KEY=VALUE]...", help="What to train.", show_default=False
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name or path; 'latest' is the newest.")
]


@app.command(add_help_option=False)
def train(
    words: Words = None,
    as_json: Json = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="Explain each field.")] = False,
) -> None:
    """Train a complete model under a clock, and hold the forecast against what it took."""
    from traintime.cli import verbs

    if show_help:
        verbs.explain_fields("train")
    else:
        _run(lambda: verbs.train(words or [], as_json=as_json), as_json)


@app.command(add_help_option=False, cls=TakesPlotFile)
def forecast(
    words: Words = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the arithmetic of the costliest kernels.")
    ] = False,
    plot: Annotated[
        str | None, typer.Option("--plot", help="Write a page that shows it.", show_default=False)
    ] = None,
    sort: Annotated[SortBy, typer.Option("--sort", help="Order of several devices.")] = SortBy.TIME,
    as_json: Json = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="Explain each field.")] = False,
) -> None:
    """Say how long a training job will take, here or on another device, without running it."""
    from traintime.cli import forecast as verb

    if show_help:
        verb.explain_fields()
    else:
        show = verb.Show(explain, plot, sort, as_json)
        _run(lambda: verb.forecast(words or [], show), as_json)


@app.command()
def demo(as_json: Json = False) -> None:
    """Measure this machine, forecast LeNet on MNIST to 99 %, train it, and compare."""
    from traintime.cli import verbs

    _run(lambda: verbs.demo(as_json=as_json), as_json)


class MachineWord(StrEnum):
    """What may stand behind `traintime machine`."""

    MEASURE = "measure"


@app.command()
def machine(
    word: Annotated[
        MachineWord | None,
        typer.Argument(metavar="measure", help="Measure again, as --measure does."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; auto takes a GPU.")] = "auto",
    measure: Annotated[bool, typer.Option("--measure", help="Measure again.")] = False,
    details: Annotated[bool, typer.Option("--details", help="Show every measured rate.")] = False,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="NAME", help="Keep the processor as device=NAME."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what this machine has and what it sustains; measured once, then remembered."""
    from traintime.cli import verbs

    shown = {
        "measure": measure or word is MachineWord.MEASURE,
        "details": details,
        "as_json": as_json,
    }
    _run(lambda: verbs.machine(device, save=save, **shown), as_json)


@runs.command("list")
def runs_list(as_json: Json = False) -> None:
    """List all runs, the newest first."""
    from traintime.cli import verbs

    _run(lambda: verbs.list_runs(as_json=as_json), as_json)


@runs.command("show")
def runs_show(run: RunName, as_json: Json = False) -> None:
    """Show a run: recipe, forecast, epochs and result."""
    from traintime.cli import verbs

    _run(lambda: verbs.show_run(run, as_json=as_json), as_json)


@runs.command("resume")
def runs_resume(run: RunName, as_json: Json = False) -> None:
    """Go on with a run that was stopped or killed, exactly where it was."""
    from traintime.cli import verbs

    _run(lambda: verbs.resume(run, as_json=as_json), as_json)


@runs.command("delete")
def runs_delete(
    run: RunName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a run and its folder."""
    from traintime.cli import verbs

    _run(lambda: verbs.delete_run(run, yes=yes, as_json=as_json), as_json)


@runs.command("compare")
def runs_compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...")], as_json: Json = False
) -> None:
    """Put runs side by side: what differs in their recipes, and how they ended."""
    from traintime.cli import verbs

    _run(lambda: verbs.compare_runs(names, as_json=as_json), as_json)


def _version(shown: bool) -> None:
    if shown:
        from traintime import __version__

        typer.echo(f"traintime {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that come before the verb."""


def _run(verb: Callable[[], Any], as_json: bool) -> None:
    """Call a verb; an error that was raised on purpose becomes a message and an exit code."""
    from traintime.errors import StoppedError, TraintimeError

    try:
        verb()
    except TraintimeError as error:
        from traintime.cli.failure import show_failure

        show_failure(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:  # before or after training, which saves and explains itself
        from traintime.cli.failure import show_failure

        show_failure(
            StoppedError(2, "Stopped. `traintime runs list` shows what can be resumed"),
            as_json=as_json,
        )
        raise typer.Exit(130) from None


def main() -> None:
    """Run the command line; bad usage exits with 2 and a hint, as click does."""
    if "--json" in sys.argv:
        _main_in_json()
    else:
        app()


def _main_in_json() -> None:
    """Run the command line such that bad usage, too, is one JSON object."""
    try:
        exit_code = app(standalone_mode=False)
    except Exception as error:
        explain = getattr(error, "format_message", None)  # click's; typer may carry its own click
        if explain is None:
            raise
        failure = {"error": "UsageError", "message": f"{explain()} See: traintime --help"}
        typer.echo(json.dumps({**failure, "exit_code": 2}))
        exit_code = 2
    sys.exit(exit_code or 0)


if __name__ == "__main__":
    sys.exit(main())
