"""Follows a training: redrawn in a terminal, in plain lines elsewhere."""

from __future__ import annotations

from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.text import Text

from traintime.clock.eta import Clock
from traintime.recipe import Recipe
from traintime.report import terminal
from traintime.report.rows import LABEL_WIDTH
from traintime.train.records import (
    ROLL_BACK,
    Change,
    EpochRecord,
    Event,
    Observer,
    Start,
    StepRecord,
)

PLAIN_EVERY_S = 2.0
MOST_EPOCH_LINES = 40


class EpochLines:
    """Prints a line for each epoch: for all of a few, of many for one in a while and the last."""

    def __init__(self, console: Console, recipe: Recipe, *, marks_best: bool) -> None:
        self._console, self.recipe = console, recipe
        self._marks_best = marks_best
        self._best_accuracy = -1.0
        self._printed_at = -PLAIN_EVERY_S
        self._held: Text | None = None

    def add(self, record: EpochRecord) -> None:
        """Print an epoch's line, or hold it back."""
        best = self._marks_best and record.validation_accuracy > self._best_accuracy
        self._best_accuracy = max(self._best_accuracy, record.validation_accuracy)
        self._held = terminal.epoch_line(self.recipe, record, best)
        late = monotonic() - self._printed_at >= PLAIN_EVERY_S
        if self.recipe.epochs <= MOST_EPOCH_LINES or late:
            self.finish()

    def finish(self) -> None:
        """Print the line that was held back, if there is one."""
        if self._held:
            self._console.print(self._held)
            self._held, self._printed_at = None, monotonic()


class LiveProgress(Observer):
    """A few lines that are redrawn, and one that stays for each epoch."""

    def __init__(self, console: Console, recipe: Recipe, clock: Clock) -> None:
        self._recipe, self._clock = recipe, clock
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._total_steps = self._steps_per_epoch = 1
        self._step: StepRecord | None = None
        self._lines = EpochLines(self._live.console, recipe, marks_best=True)

    def on_start(self, start: Start) -> None:
        """Begin to draw."""
        self._total_steps, self._steps_per_epoch = start.total_steps, start.steps_per_epoch
        self._live.start()
        self._draw()

    def on_steps(self, record: StepRecord) -> None:
        """Redraw."""
        self._step = record
        self._draw()

    def on_epoch(self, record: EpochRecord) -> None:
        """Leave a line and redraw."""
        self._lines.add(record)
        self._draw()

    def on_change(self, change: Change, recipe: Recipe) -> None:
        """Say what a command did."""
        if change.verb != ROLL_BACK:  # its event says more
            self._live.console.print(terminal.change_line(change))
        self._draw()

    def on_recipe(self, recipe: Recipe) -> None:
        """Go on by what holds now."""
        self._recipe = self._lines.recipe = recipe
        self._total_steps = recipe.epochs * self._steps_per_epoch

    def on_event(self, event: Event) -> None:
        """Say what was survived."""
        self._live.console.print(terminal.event_line(event))

    def on_end(self, status: str) -> None:
        """Stop drawing."""
        self._lines.finish()
        self.stop()

    def stop(self) -> None:
        """Take the live lines off the screen."""
        self._live.stop()

    def _draw(self) -> None:
        lines = terminal.progress_lines(
            self._recipe, self._total_steps, self._clock.eta, self._step
        )
        self._live.update(lines, refresh=True)


class PlainProgress(Observer):
    """A line every few seconds, and one for each epoch."""

    def __init__(self, console: Console, recipe: Recipe, clock: Clock) -> None:
        self._console, self._recipe, self._clock = console, recipe, clock
        self._total_steps = self._steps_per_epoch = 1
        self._printed_at = monotonic()
        self._lines = EpochLines(console, recipe, marks_best=False)

    def on_start(self, start: Start) -> None:
        """Note the length of the run."""
        self._total_steps, self._steps_per_epoch = start.total_steps, start.steps_per_epoch

    def on_steps(self, record: StepRecord) -> None:
        """Print a line if the last one is a while ago."""
        if monotonic() - self._printed_at < PLAIN_EVERY_S:
            return
        self._printed_at = monotonic()
        eta = self._clock.eta
        line = terminal.plain_step_line(self._recipe, self._total_steps, record, eta)
        self._console.print(" " * LABEL_WIDTH + line)

    def on_epoch(self, record: EpochRecord) -> None:
        """Print a line, unless there are too many."""
        self._lines.add(record)

    def on_change(self, change: Change, recipe: Recipe) -> None:
        """Say what a command did."""
        if change.verb != ROLL_BACK:  # its event says more
            self._console.print(terminal.change_line(change))

    def on_recipe(self, recipe: Recipe) -> None:
        """Go on by what holds now."""
        self._recipe = self._lines.recipe = recipe
        self._total_steps = recipe.epochs * self._steps_per_epoch

    def on_event(self, event: Event) -> None:
        """Say what was survived."""
        self._console.print(terminal.event_line(event))

    def on_end(self, status: str) -> None:
        """Print the last epoch's line."""
        self._lines.finish()
