"""A run at one moment as a screen of text: header, curves, figures, what to look at, commands.

The screen is a list of lines, each as wide as it may be, so that it can be drawn twice a second at
next to no cost, on a terminal or into a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from traintime.clock.run_state import RunState, Status
from traintime.report.rows import progress_bar
from traintime.report.terminal import of_planned, title
from traintime.report.watch_charts import charts
from traintime.report.watch_figures import machine_lines, time_lines, training_lines
from traintime.report.watch_lines import DIM, GAP, beside, fitted, rule
from traintime.report.watch_notes import footer, note_lines
from traintime.units import format_duration, format_percent

LEAST_WIDTH = 50
"""Columns below which figures are cut off."""
BESIDE, WIDE = 62, 140
"""Columns from which two groups of figures fit side by side with the time that is left, and three.
"""
PLAIN_CHART_ROWS, LEAST_CHART_ROWS, MOST_CHART_ROWS = 14, 6, 44
TALL, RESERVED = 36, 6
"""On a terminal so high, so many lines are kept for what may come, so that nothing jumps."""

COLOURS: dict[Status, str] = {
    "training": "bold black on green",
    "target reached": "bold black on green",
    "finished": "bold black on green",
    "paused": "bold black on yellow",
    "stopped early": "bold black on yellow",
    "stopped": "bold black on yellow",
    "interrupted": "bold white on red",
    "diverged": "bold white on red",
    "failed": "bold white on red",
}
AT_WORK_COLOUR = "bold black on cyan"


@dataclass(frozen=True)
class Screen:
    """Lines that rich draws as they are.

    Args:
        lines: From the top, no wider than the terminal.
    """

    lines: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self.lines):
            if number:
                yield Segment.line()
            line.end = ""
            yield from line.render(console)


def watch_view(state: RunState, width: int, height: int | None = None) -> Screen:
    """Return a run as a screen.

    Args:
        state: Of the run.
        width: Of the terminal, in characters.
        height: Of the terminal, in lines, all of which are filled; None takes what is needed.
    """
    head, figures = _header(state, width), _figures(state, width, height)
    notes = note_lines(state, width)
    if height is None:
        return Screen([*head, *charts(state, width, PLAIN_CHART_ROWS), *figures, *notes])
    foot = footer(state, width)
    free = height - len(head) - len(figures) - len(foot)
    if free < LEAST_CHART_ROWS:
        lines = _for_a_small_terminal(state, width, head, notes)[: max(2, height - len(foot))]
    else:
        reserved = max(len(notes), RESERVED if height >= TALL else 0)
        reserved = min(reserved, free // 2 if state.warnings else free // 3)
        rows = min(MOST_CHART_ROWS, max(LEAST_CHART_ROWS, free - reserved))
        lines = [*head, *charts(state, width, rows), *figures, *notes[: free - rows]]
    lines += [Text(" " * width)] * (height - len(foot) - len(lines))
    lines = [*lines, *foot][:height]
    return Screen(lines if width >= LEAST_WIDTH else [fitted(line, width) for line in lines])


def result_line(state: RunState) -> Text:
    """Return how a run ended, or why it is no longer at work, and what to type next."""
    if state.result:
        line = Text().append(state.status, "bold green")
        line.append(f" after {format_duration(state.elapsed_s)}")
        if state.result.get("reason"):
            line.append(f": {state.result['reason']}")
        accuracy = state.result.get("test", {}).get("accuracy")
        if accuracy is not None:
            line.append(f" · {format_percent(accuracy, 2)} on the test set")
        return line.append(f" · report: {state.folder / 'report.html'}")
    done = f" at step {state.last_step['step']:,}" if state.last_step else " before its first step"
    line = Text().append(f"{state.status}{done}", "bold yellow")
    return line.append(f" · go on with: traintime runs resume {state.run}")


def _header(state: RunState, width: int) -> list[Text]:
    badge = Text().append(f" {state.status} ", COLOURS.get(state.status, AT_WORK_COLOUR))
    name = fitted(Text().append(title(state.recipe), "bold"), max(0, width - badge.cell_len))
    where = [state.run]
    if state.pid:
        where.append(f"process {state.pid} on {state.host}")
    if state.started_at:
        where.append(f"since {state.started_at[11:16]}")
    return [
        name.append_text(badge),
        fitted(Text().append(" · ".join(where), DIM), width),
        _progress(state, width),
    ]


def _progress(state: RunState, width: int) -> Text:
    done = state.share_done
    words = f" {format_percent(done, 0):>5}"
    if state.last_step:
        epoch = math.ceil(state.last_step["epoch"] - 1e-9)
        words += f" · epoch {of_planned(max(1, epoch), state.recipe).strip()}"
        words += f" · step {state.last_step['step']:,}"
    words += f" · after {format_duration(round(state.elapsed_s))}"
    bar = progress_bar(done, max(10, width - len(words)))
    return fitted(Text().append_text(bar).append(words, "bold"), width)


def _for_a_small_terminal(
    state: RunState, width: int, head: Sequence[Text], notes: Sequence[Text]
) -> list[Text]:
    """Return everything but curves below each other, what is worth most first: the time left."""
    title_line, where, progress = head
    times = time_lines(state, width)
    rest = _below(state, width)[len(times) + 1 :]
    lines = [title_line, *times, progress, *notes, where, *rest]
    return [fitted(line, width) for line in lines]


def _below(state: RunState, width: int) -> list[Text]:
    """Return times, training and machine below each other."""
    heads = [rule(Text().append(name, "bold"), width) for name in ("training", "machine")]
    training = [*time_lines(state, width), *training_lines(state, width)]
    lines = [heads[0], *training, heads[1], *machine_lines(state, width)]
    return [fitted(line, width) for line in lines]


def _figures(state: RunState, width: int, height: int | None) -> list[Text]:
    """Return times, training and machine beside each other, as far as there is room."""
    if width < BESIDE:
        lines = _below(state, width)
        has_room = height is None or height >= TALL
        return lines if has_room else lines[: -1 - len(machine_lines(state, width))]
    if width >= WIDE:
        time, machine = round(0.38 * (width - 2 * GAP)), round(0.3 * (width - 2 * GAP))
        widths = (time, width - 2 * GAP - time - machine, machine)
        blocks = [
            ("time", time_lines(state, widths[0])),
            ("training", training_lines(state, widths[1])),
            ("machine", machine_lines(state, widths[2])),
        ]
    else:
        right = max(34, width * 2 // 5)
        widths = (width - GAP - right, right)
        training = [*time_lines(state, widths[0]), *training_lines(state, widths[0])]
        blocks = [("training", training), ("machine", machine_lines(state, widths[1]))]
    heads = [
        [rule(Text().append(name, "bold"), w)] for (name, _), w in zip(blocks, widths, strict=True)
    ]
    return [*beside(heads, widths), *beside([lines for _, lines in blocks], widths)]
