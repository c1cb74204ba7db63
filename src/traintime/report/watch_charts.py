"""The curves of a watched run: losses on the left, accuracy on the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from traintime.clock.run_state import Curve, Record, RunState
from traintime.report.terminal_plot import NUMBERS, Chart, Line, draw, smooth
from traintime.report.watch_lines import GAP, beside, rule
from traintime.units import format_count

TRAINING, TRAINING_BAND = "bright_cyan", "grey27"
VALIDATION, VALIDATION_BAND = "orange1", "#4f3a00"
TARGET = "green"
SMOOTHED_OVER = 50
"""A smoothed curve takes in one part in so many of the run on either side."""
NARROW = 72
"""Columns below which there is room for one chart only."""
TWO_ROWS, MOST_BELOW = 28, 11
"""Lines from which there is room for two rows of charts, and the most that the lower one takes."""


def charts(state: RunState, width: int, height: int) -> list[Text]:
    """Return the charts with their headings: losses and accuracy, below them what they stand on.

    Args:
        state: Of the run.
        width: Of all of them.
        height: In lines, the headings among them.
    """
    loss, accuracy = _loss_chart(state), _accuracy_chart(state)
    if width < NARROW:
        return [rule(_loss_heading(), width), *draw(loss, width, height - 1)]
    below = min(MOST_BELOW, height // 3) if height >= TWO_ROWS else 0
    above = _pair(
        (_loss_heading(), loss), (_accuracy_heading(state), accuracy), width, height - below
    )
    if not below:
        return above
    rate = _heading("learning rate"), _one_curve(state, state.curves.lr, "{:.3g}".format)
    speed = _heading("samples/s"), _one_curve(state, state.curves.samples_per_s, format_count)
    return [*above, *_pair(rate, speed, width, below)]


def _pair(
    left: tuple[Text, Chart], right: tuple[Text, Chart], width: int, height: int
) -> list[Text]:
    """Return two charts beside each other."""
    half = (width - GAP) // 2
    widths = (half, width - GAP - half)
    blocks = [
        [rule(heading, each), *draw(chart, each, height - 1)]
        for (heading, chart), each in zip((left, right), widths, strict=True)
    ]
    return beside(blocks, widths)


def marked_changes(changes: Sequence[Record]) -> dict[int, Record]:
    """Return the newest changes of values by the number they are marked with."""
    values = [change for change in changes if change.get("changes")]
    return dict(enumerate(values[-len(NUMBERS) :], start=1))


def _heading(name: str, *legend: tuple[str, str, str]) -> Text:
    """Return a heading with a legend: a dash, its colour and what it stands for."""
    words = Text().append(name, "bold")
    for dash, style, what in legend:
        words.append(f"  {dash} ", style).append(what)
    return words


def _loss_heading() -> Text:
    return _heading("loss", ("━", TRAINING, "training"), ("━", VALIDATION, "validation"))


def _accuracy_heading(state: RunState) -> Text:
    goal = state.recipe.goal
    target = [("╌", TARGET, "target")] if goal and goal.metric == "accuracy" else []
    return _heading("accuracy", ("━", VALIDATION, "validation"), *target)


def _loss_chart(state: RunState) -> Chart:
    goal = state.recipe.goal
    return Chart(
        lines=[
            _line(state.curves.train_loss, TRAINING, TRAINING_BAND),
            _line(state.curves.validation_loss, VALIDATION, VALIDATION_BAND),
        ],
        say_y="{:.3g}".format,
        level=goal.value if goal and goal.metric == "loss" else None,
        marks=_marks(state),
        can_be_log=True,
    )


def _accuracy_chart(state: RunState) -> Chart:
    goal = state.recipe.goal
    return Chart(
        lines=[_line(state.curves.validation_accuracy, VALIDATION, VALIDATION_BAND)],
        say_y=lambda share: f"{share * 100:.3g} %",
        level=goal.value if goal and goal.metric == "accuracy" else None,
        marks=_marks(state),
        most=1.0,
    )


def _one_curve(state: RunState, curve: Curve, say_y: Callable[[float], str]) -> Chart:
    return Chart([_line(curve, TRAINING, TRAINING_BAND)], say_y, marks=_marks(state), least=0.0)


def _line(curve: Curve, style: str, band_style: str) -> Line:
    """Return a curve smoothed, and how far it scatters behind it."""
    points = [(point.x, point.y) for point in curve]
    band = [(point.low, point.high) for point in curve]
    return Line(smooth(points, len(points) // SMOOTHED_OVER), style, band, band_style)


def _marks(state: RunState) -> list[tuple[float, int]]:
    """Return where values were changed, in epochs."""
    changes = marked_changes(state.changes)
    steps = max(1, state.steps_per_epoch)
    return [(change["step"] / steps, number) for number, change in changes.items()]
