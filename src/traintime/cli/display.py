"""Draws a verb while it works: live in a terminal, in plain lines elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from traintime.api.listener import Listener
from traintime.cli.audience import Audience
from traintime.report.rows import LABEL_WIDTH, progress_bar

if TYPE_CHECKING:
    from traintime.cli.progress import LiveProgress
    from traintime.clock.eta import Clock
    from traintime.forecast.forecast import Forecast
    from traintime.recipe import Recipe
    from traintime.train.records import Observer


def make_console(*, to_stderr: bool = False) -> Console:
    """Return the console; as wide as the terminal, or wide enough for a log."""
    # rich asks for a whole file and uses no more of it than this
    file = cast("IO[str]", Audience("stderr" if to_stderr else "stdout"))
    console = Console(file=file, stderr=to_stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(
            file=file, stderr=to_stderr, highlight=False, width=140, color_system=None
        )
    return console


class Display(Listener):
    """Shows every stage on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_live = console.is_terminal and not os.environ.get("CI")
        self._live: Live | LiveProgress | None = None

    def say(self, line: str) -> None:
        """Print a line, above what is live if anything is."""
        self.console.print(Text(" " * LABEL_WIDTH + line, "yellow"))

    def on_measuring(self, what: str, share: float) -> None:
        """Show how far the measuring of the machine is."""
        if not self.is_live:
            if share == 0:
                self.console.print("Measuring this machine (once, about 10 s) ...")
            return
        bar = Text("Measuring".ljust(LABEL_WIDTH), "dim")
        bar.append_text(progress_bar(share)).append(f" {what}", "dim")
        if not isinstance(self._live, Live):
            self._live = Live(bar, console=self.console, transient=True, auto_refresh=False)
            self._live.start()
        self._live.update(bar, refresh=True)
        if what == "done":
            self.close()

    def on_preparing(self, recipe: Recipe) -> None:
        """Say for a moment why nothing is seen yet."""
        if not self.is_live:
            return
        line = Text("Preparing".ljust(LABEL_WIDTH), "dim")
        line.append(f"reading {recipe.data_name}, trying a few steps of {recipe.model} ...", "dim")
        self._live = Live(line, console=self.console, transient=True, auto_refresh=False)
        self._live.start(refresh=True)

    def on_forecast(self, recipe: Recipe, forecast: Forecast, folder: Path) -> None:
        """Show the forecast before anything is trained."""
        from traintime.report import terminal

        self.close()
        self.console.print()
        self.console.print(Text(terminal.title(recipe), "bold"))
        self.console.print()
        self.console.print(terminal.forecast_lines(recipe, forecast))
        self.console.print()

    def on_trial(self, forecast: Forecast) -> None:
        """Show what became of the forecast."""
        from traintime.report import terminal

        self.console.print(terminal.trial_lines(forecast))
        self.console.print()

    def observers(self, recipe: Recipe, clock: Clock) -> list[Observer]:
        """Follow the training live, or in lines."""
        from traintime.cli.progress import LiveProgress, PlainProgress

        if self.is_live:
            self._live = LiveProgress(self.console, recipe, clock)
            return [self._live]
        return [PlainProgress(self.console, recipe, clock)]

    def on_testing(self, samples: int) -> None:
        """Leave a gap before the scores."""
        self.console.print()

    def close(self) -> None:
        """Stop drawing over the screen, whichever way the verb ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None
