"""The verbs: call the library, then print what it returned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from traintime.api import runs as runs_api
from traintime.api.demo import demo as run_demo
from traintime.api.listener import Listener
from traintime.api.machine import machine as describe_machine
from traintime.api.machine import save_machine
from traintime.api.train import TrainResult, was_changed
from traintime.api.train import train as run_train
from traintime.cli.display import Display, make_console
from traintime.cli.output import open_display, print_json, shown_path
from traintime.errors import InputError
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe, read_recipe
from traintime.report import terminal
from traintime.report.run_lines import run_lines


def train(words: Sequence[str], *, as_json: bool) -> None:
    """Train the recipe that the words describe."""
    recipe = read_recipe(words)
    _run_training(lambda listener: run_train(recipe, listener=listener), as_json=as_json)


def demo(*, as_json: bool) -> None:
    """Run the whole product in small."""

    def show_machine_first(listener: Listener) -> TrainResult:
        if isinstance(listener, Display):
            profile = describe_machine(listener=listener)
            listener.console.print()
            listener.console.print(terminal.machine_lines(profile))
        return run_demo(listener=listener)

    _run_training(show_machine_first, as_json=as_json)


def resume(run: str, *, as_json: bool) -> None:
    """Go on with a run."""
    _run_training(lambda listener: runs_api.resume(run, listener=listener), as_json=as_json)


def _run_training(verb: Callable[[Listener], TrainResult], *, as_json: bool) -> None:
    if as_json:
        print_json(verb(Listener()).to_json())
        return
    with open_display() as display:
        result = verb(display)
    console = display.console
    console.print(terminal.score_lines(result.to_json()["test"]))
    console.print()
    report = shown_path(result.report)
    if result.reason:
        console.print(terminal.reason_line(result.reason))
    line = terminal.closing_line(
        result.forecast,
        result.total_s,
        result.test.accuracy,
        report,
        missed=RunFolder(result.folder).read_recipe().get("target")
        if result.status != "target reached"
        else None,
        was_changed=was_changed(RunFolder(result.folder)),
    )
    console.print(line, soft_wrap=True)


def machine(device: str, *, measure: bool, details: bool, save: str | None, as_json: bool) -> None:
    """Show this machine, and keep its processor under a name if one is given."""
    if save is not None:
        _save_machine(save, device, measure=measure, as_json=as_json)
    elif as_json:
        print_json(describe_machine(device, measure=measure or None).to_json())
    else:
        _show_machine(device, measure=measure, details=details)


def _show_machine(device: str, *, measure: bool, details: bool) -> None:
    with open_display() as display:
        profile = describe_machine(device, measure=measure or None, listener=display)
    display.console.print(terminal.machine_lines(profile))
    if details:
        display.console.print()
        display.console.print(terminal.machine_details(profile))


def _save_machine(name: str, device: str, *, measure: bool, as_json: bool) -> None:
    with open_display() as display:
        listener = Listener() if as_json else display
        spec = save_machine(name, device, measure=measure or None, listener=listener)
    if as_json:
        print_json(dataclasses.asdict(spec))
        return
    make_console().print(
        f"{spec.name} is kept as {spec.key}. "
        f"Type: traintime forecast model=resnet50 data=imagenet device={spec.key}\n"
        f"To forget it, type: traintime hardware remove {spec.key}",
        soft_wrap=True,
    )


def show_run(run: str, *, as_json: bool) -> None:
    """Show one run."""
    known = runs_api.show_run(run)
    if as_json:
        print_json(known)
        return
    console = make_console()
    console.print(run_lines(known))


def delete_run(run: str, *, yes: bool, as_json: bool) -> None:
    """Delete a run, after asking."""
    folder = runs_api.folder_to_delete(run)
    if folder and not yes:
        if as_json or not make_console().is_terminal:
            raise InputError(
                f"Deleting '{folder.name}' cannot be undone; to do it without being asked, type: "
                f"traintime runs delete {folder.name} --yes"
            )
        typer.confirm(f"Delete {folder.path} and all that is in it?", abort=True)
    name = runs_api.delete_run(run)
    if as_json:
        print_json({"deleted": name})
    else:
        make_console().print(f"Deleted {name}")


def compare_runs(names: Sequence[str], *, as_json: bool) -> None:
    """Compare runs."""
    sides = runs_api.compare_runs(names)
    if as_json:
        print_json(sides)
    else:
        make_console().print(terminal.comparison_table(sides))


def explain_fields(verb: str) -> None:
    """Print the help of a verb that takes a recipe: every field, its default and its meaning."""
    console = make_console()
    console.print(f"\n Usage: traintime {verb} [--json] [RECIPE.yaml] [KEY=VALUE]...\n")
    console.print(f" For example: traintime {verb} data=mnist model=lenet target=accuracy:0.99\n")
    print_fields(console, Recipe, required=("data", "model"))
    console.print(
        "\n 'by preset' depends on model and data set; "
        "`traintime forecast --json` and every run's recipe.yaml show the value.\n"
    )


def print_fields(console: Console, model: type[BaseModel], required: Sequence[str]) -> None:
    """Print every field of a job, its default and its meaning.

    Args:
        console: Where to.
        model: Whose fields.
        required: Those that have to be given.
    """
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="bold")
    table.add_column("field", style="cyan", no_wrap=True)
    table.add_column("default", style="dim", no_wrap=True)
    table.add_column("meaning")
    for name, field in model.model_fields.items():
        default = "by preset" if field.is_required() else _as_typed(field.default)
        if name in required:
            default = "required"
        table.add_row(name, default, field.description or "")
    console.print(table)


def _as_typed(value: Any) -> str:
    """Return a default as it would be typed."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)  # pyright: ignore[reportUnknownVariableType]
    return f"{value:g}" if isinstance(value, float) else str(value)
