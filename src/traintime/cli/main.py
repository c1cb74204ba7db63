"""The command line: verbs, parsed and handed to the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from traintime.cli.forecast import SortBy, TakesPlotFile
from traintime.cli.hardware import hardware
from traintime.cli.running import Json, run_verb
from traintime.cli.runs import runs

app = typer.Typer(
    name="traintime",
    help="How long will it take to train this model, on this machine, to the quality I need?",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(runs, name="runs")
app.add_typer(hardware, name="hardware")

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE.yaml] [KEY=VALUE]...", help="What to train.", show_default=False
    ),
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
        run_verb(lambda: verbs.train(words or [], as_json=as_json), as_json, runs=True)


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
        run_verb(lambda: verb.forecast(words or [], show), as_json)


@app.command()
def demo(as_json: Json = False) -> None:
    """Measure this machine, forecast LeNet on MNIST to 99 %, train it, and compare."""
    from traintime.cli import verbs

    run_verb(lambda: verbs.demo(as_json=as_json), as_json, runs=True)


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
    run_verb(lambda: verbs.machine(device, save=save, **shown), as_json)


class ListWord(StrEnum):
    """What may stand behind `traintime models` and `traintime data`."""

    LIST = "list"


Listing = Annotated[
    ListWord | None, typer.Argument(metavar="list", help="Does the same.", show_default=False)
]


@app.command()
def models(_: Listing = None, as_json: Json = False) -> None:
    """List the models that forecasts know by name."""
    from traintime.cli import known_names

    run_verb(lambda: known_names.show_models(as_json=as_json), as_json)


@app.command()
def data(_: Listing = None, as_json: Json = False) -> None:
    """List the data sets whose sizes forecasts know."""
    from traintime.cli import known_names

    run_verb(lambda: known_names.show_data(as_json=as_json), as_json)


@app.command()
def ledger(as_json: Json = False) -> None:
    """Show what all runs say together: how they ended, and how good their forecasts were."""
    from traintime.cli import ledger as verb

    run_verb(lambda: verb.show_ledger(as_json=as_json), as_json)


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


def main() -> None:
    """Run the command line; bad usage exits with 2 and a hint, as click does."""
    _refuse_fields_with_dashes(sys.argv[1:])
    if "--json" in sys.argv:
        _main_in_json()
    else:
        app()


OPTIONS = ("--json", "--help", "--explain", "--plot", "--sort")
"""Of the verbs that take fields."""


def _refuse_fields_with_dashes(words: Sequence[str]) -> None:
    """Say how a field is typed to who types it as an option."""
    verb, given = "".join(words[:1]), list(words[1:])
    odd = [word for word in given if word.startswith("--") and word.split("=")[0] not in OPTIONS]
    if verb not in ("train", "forecast") or not odd:
        return
    from traintime.cli.failure import show_failure
    from traintime.errors import InputError
    from traintime.recipe.question import Question
    from traintime.recipe.recipe import Recipe

    name, _, value = odd[0].removeprefix("--").partition("=")
    name = name.replace("-", "_")
    if name not in Recipe.model_fields and name not in Question.model_fields:
        return
    behind = "".join(given[given.index(odd[0]) + 1 :][:1])
    is_value = behind and not behind.startswith("-") and "=" not in behind
    value = value or (behind if is_value else "...")
    error = InputError(f"A field is typed without dashes: {name}={value}")
    show_failure(error, as_json="--json" in words)
    sys.exit(error.exit_code)


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
