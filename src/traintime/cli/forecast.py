"""The forecast verb: for this machine, for a device of the catalogue, or for several of them."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import Console

    from traintime.forecast.device_forecast import DeviceForecast
    from traintime.forecast.forecast import Forecast

PLOT = "--plot"
PLOT_FILE = "forecast.html"
PAGES = (".html", ".htm")
RECIPES = (".yaml", ".yml")
GARBAGE_EVERY = 200_000
"""Things made between two looks for garbage: a forecast is over before there is any."""
NAME_A_DEVICE = "type for example device=rtx-3090"
USAGE = f"""
 Usage: traintime forecast [OPTIONS] [RECIPE.yaml] [KEY=VALUE]...

 For example: traintime forecast data=mnist model=lenet target=accuracy:0.99
              traintime forecast model=resnet50 data=imagenet device=rtx-3090 --explain
              traintime forecast model=resnet50 data=imagenet device=all --plot

 --explain            the arithmetic of the costliest kernels of one device
 --plot [FILE.html]   write a page that shows it; {PLOT_FILE} if no file is named
 --sort ORDER         of several devices: time, memory (the most left first) or efficiency
 --json               print one JSON document and nothing else

 `traintime models`, `traintime data` and `traintime hardware list` show all names."""


class SortBy(StrEnum):
    """What several devices are put in order by."""

    TIME = "time"
    MEMORY = "memory"
    EFFICIENCY = "efficiency"


@dataclass(frozen=True)
class Show:
    """How a forecast is to be shown.

    Args:
        explain: Whether the arithmetic of the most expensive kernels is.
        plot: Where a page is written to, as typed; None for nowhere.
        sort_by: Order of several devices.
        as_json: Whether JSON is printed, and nothing else.
    """

    explain: bool = False
    plot: str | None = None
    sort_by: SortBy = SortBy.TIME
    as_json: bool = False


class TakesPlotFile(TyperCommand):
    """A command whose option --plot may have a file behind it, or not."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words with each --plot given its file."""
        return super().parse_args(ctx, with_plot_file(args))


def with_plot_file(words: Sequence[str]) -> list[str]:
    """Return words in which each --plot has its file behind an equals sign."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == PLOT and _is_file(word):
            found[-1] = f"{PLOT}={word}"
        else:
            found.append(word)
    return [f"{PLOT}={PLOT_FILE}" if word == PLOT else word for word in found]


def _is_file(word: str) -> bool:
    """Return whether a word behind --plot is its file, and no part of the recipe."""
    if word.endswith(PAGES):
        return True
    return not (word.startswith("-") or "=" in word or word.endswith(RECIPES))


def forecast(words: Sequence[str], show: Show) -> None:
    """Forecast the job that the words describe, and print what came out."""
    from traintime.recipe.parse import read_fields

    usual = gc.get_threshold()
    gc.set_threshold(GARBAGE_EVERY)
    try:
        _forecast(read_fields(words), show)
    finally:
        gc.set_threshold(*usual)


def _forecast(fields: Mapping[str, Any], show: Show) -> None:
    plot = _plot_path(show.plot)
    _refuse_unknown(fields)
    _refuse_details_of_this_machine(fields, show)
    if _asks_several(fields.get("device")):
        _forecast_several(fields, show, plot)
    else:
        _forecast_one(fields, show, plot)


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    """Refuse what is no field, since the library's functions have arguments beside the fields.

    Raises:
        InputError: Names the field and what it may have been meant for.
    """
    from traintime.api.question import asks_of_devices
    from traintime.recipe import Recipe
    from traintime.recipe.parse import make_recipe
    from traintime.recipe.question import Question, make_question

    known = {**Recipe.model_fields, **Question.model_fields}
    unknown = {key: value for key, value in fields.items() if key not in known}
    if unknown and asks_of_devices(fields):
        make_question(unknown)
    elif unknown:
        make_recipe(unknown)


def _refuse_details_of_this_machine(fields: Mapping[str, Any], show: Show) -> None:
    """Refuse what only the forecast for a device has, before this machine is measured.

    Raises:
        InputError: An option does not suit the job.
    """
    from traintime.api.question import asks_of_devices
    from traintime.errors import InputError

    is_sorted = show.sort_by is not SortBy.TIME
    options = (("--explain", show.explain), (PLOT, show.plot), ("--sort", is_sorted))
    wanted = [option for option, given in options if given]
    if wanted and not asks_of_devices(fields):
        verb = "orders" if wanted[0] == "--sort" else "shows"
        raise InputError(
            f"{wanted[0]} {verb} the forecast for a device of the catalogue, and this one is for a "
            f"job on this machine. Leave it out, or {NAME_A_DEVICE}"
        )


def _asks_several(device: object) -> bool:
    """Return whether more than one device may be meant; what was typed was parted at its commas."""
    from traintime.hardware.devices import EVERY_DEVICE

    if isinstance(device, list | tuple):
        return True
    return "," in str(device) or str(device).casefold() == EVERY_DEVICE


def _forecast_several(fields: Mapping[str, Any], show: Show, plot: Path | None) -> None:
    from traintime.api.forecast import forecast_devices
    from traintime.cli.output import open_display, print_json
    from traintime.errors import InputError
    from traintime.report.device_ranking import device_forecast_table

    if show.explain:
        raise InputError(f"--explain shows the kernels of one device: {NAME_A_DEVICE}")
    order = show.sort_by.value
    if show.as_json:
        answers = forecast_devices(sort_by=order, **fields)
        print_json([answer.to_json() for answer in answers])
    else:
        with open_display() as display:
            answers = forecast_devices(sort_by=order, listener=display, **fields)
        display.console.print(device_forecast_table(answers, display.console.width))
    _write_plot(plot, answers, as_json=show.as_json)


def _forecast_one(fields: Mapping[str, Any], show: Show, plot: Path | None) -> None:
    from traintime.api.forecast import forecast as make_forecast
    from traintime.cli.output import open_display, print_json
    from traintime.forecast.device_forecast import DeviceForecast

    if show.as_json:
        answer = make_forecast(**fields)
        print_json(answer.to_json())
    else:
        with open_display() as display:
            answer = make_forecast(listener=display, **fields)
        _print_one(display.console, answer, fields, explain=show.explain)
    if isinstance(answer, DeviceForecast):
        _write_plot(plot, [answer], as_json=show.as_json)


def _print_one(
    console: Console,
    answer: Forecast | DeviceForecast,
    fields: Mapping[str, Any],
    *,
    explain: bool,
) -> None:
    from traintime.forecast.device_forecast import DeviceForecast
    from traintime.report.device_forecast import device_forecast_lines

    if not isinstance(answer, DeviceForecast):
        _print_of_this_machine(console, answer, fields)
        return
    console.print(device_forecast_lines(answer, console.width))
    if explain:
        from traintime.report.kernel_arithmetic import kernel_lines

        console.print()
        console.print(kernel_lines(answer))


def _print_of_this_machine(console: Console, answer: Forecast, fields: Mapping[str, Any]) -> None:
    from rich.text import Text

    from traintime.api.job import read_job
    from traintime.report import terminal

    recipe = read_job(None, {key: fields[key] for key in fields if key != "pilot"}).recipe
    console.print(Text(terminal.title(recipe), "bold"))
    console.print()
    console.print(terminal.forecast_lines(recipe, answer))


def _plot_path(typed: str | None) -> Path | None:
    from traintime.errors import InputError

    if typed is None:
        return None
    path = Path(typed).expanduser()
    if path.suffix not in PAGES or path.is_dir():
        raise InputError(
            f"A plot is a page for a browser, and '{typed}' is not the name of one. "
            f"Type for example: {PLOT} {path.stem or 'forecast'}.html"
        )
    return path


def _write_plot(path: Path | None, forecasts: Sequence[DeviceForecast], *, as_json: bool) -> None:
    """Write the page if one was asked for, and say where it is."""
    if path is None:
        return
    from traintime import __version__
    from traintime.cli.display import make_console
    from traintime.cli.output import shown_path
    from traintime.errors import StorageError
    from traintime.ledger.atomic import write_bytes_atomically
    from traintime.report.device_plot import render_device_plot

    try:
        write_bytes_atomically(path, render_device_plot(forecasts, __version__).encode())
    except StorageError as error:
        why = getattr(error.__cause__, "strerror", None) or error
        raise StorageError(
            f"The page could not be written to '{path}' ({why}). Type another file, for example: "
            f"{PLOT} {PLOT_FILE}"
        ) from error
    if not as_json:
        make_console().print(f"\nplot: {shown_path(path)}", soft_wrap=True)


def explain_fields() -> None:
    """Print the help of the verb: its options, and the fields of both kinds of job."""
    from traintime.cli.display import make_console
    from traintime.cli.verbs import print_fields
    from traintime.recipe import Recipe
    from traintime.recipe.question import Question

    console = make_console()
    console.print(USAGE, markup=False)
    console.print(
        "\n Any model on any device of the catalogue, without having either:\n", style="bold"
    )
    print_fields(console, Question, required=("model",))
    console.print("\n A job that `traintime train` can run on this machine:\n", style="bold")
    print_fields(console, Recipe, required=("data", "model"))
    console.print(
        "\n 'by preset' depends on model and data set; `traintime forecast --json` shows it.\n"
    )
