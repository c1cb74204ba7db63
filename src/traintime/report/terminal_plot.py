"""Curves in a terminal: eight braille dots to a character, axes with figures, numbered marks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

XY = tuple[float, float]
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character by column and row of its dots, Unicode chapter 21.1."""
UPRIGHT = [
    [[sum(side[first : last + 1]) for last in range(4)] for first in range(4)] for side in DOTS
]
"""Bits of the dots of a character's column, from one row to another."""
BLOCKS = "▁▂▃▄▅▆▇█"
NUMBERS = "①②③④⑤⑥⑦⑧⑨"
LOG_FROM = 8.0
"""Ratio of the highest to the lowest value from which a curve is drawn on a logarithmic scale."""
LEAST_SETTLED = 20
"""Points from which the first tenth of a curve has no say in the scale."""
FRAME, MARK = "grey42", "magenta"


@dataclass(frozen=True)
class Line:
    """A curve.

    Args:
        points: By x, in order.
        style: Its colour.
        band: The least and the greatest value at each point, where that is to be seen.
        band_style: Their colour.
    """

    points: Sequence[XY]
    style: str
    band: Sequence[XY] = ()
    band_style: str = "grey30"


@dataclass(frozen=True)
class Chart:
    """What is drawn, and how its figures are said.

    Args:
        lines: The first lies at the back.
        say_y: Words for a value.
        x_name: What is along the axis, from 0.
        level: A value that is wanted, as a dashed line.
        marks: Where something happened, and the number it is listed under.
        can_be_log: Whether a wide range may be drawn on a logarithmic scale.
        least: A value that the axis goes down to at least.
        most: The greatest value that there can be.
    """

    lines: Sequence[Line]
    say_y: Callable[[float], str]
    x_name: str = "epoch"
    level: float | None = None
    marks: Sequence[tuple[float, int]] = ()
    can_be_log: bool = False
    least: float = math.inf
    most: float = math.inf


def draw(chart: Chart, width: int, height: int) -> list[Text]:
    """Return a chart as lines of text.

    Args:
        chart: What to draw.
        width: In characters, the figures of the axis among them.
        height: In lines, the axis among them.
    """
    ys = [y for line in chart.lines for _, y in _settled(line.points)]
    if not ys:
        return _nothing_yet(width, height)
    last = max(line.points[-1][0] for line in chart.lines if line.points) or 1.0
    scale = _Scale.around(ys, chart)
    rows = height - 1
    labels = _labels(scale, chart.say_y, rows)
    margin = max(len(label) for label in labels.values()) + 1
    canvas = _Canvas(max(4, width - margin - 1), rows)

    def place(x: float, y: float) -> XY:
        return x / last * (canvas.dots_across - 1), (1 - scale.share(y)) * (canvas.dots_down - 1)

    if chart.level is not None:
        canvas.dashes(place(0, chart.level)[1], "green")
    for line in chart.lines:
        ends = zip(line.points, line.band, strict=False)
        canvas.band(
            [(place(x, high), place(x, low)) for (x, _), (low, high) in ends], line.band_style
        )
    for line in chart.lines:
        canvas.curve([place(x, y) for x, y in line.points], line.style)
    for x, number in chart.marks:
        if 0 <= x <= last:
            canvas.mark(place(x, scale.low)[0], number)
    lines = [
        Text(f"{labels.get(row, ''):>{margin - 1}} ", FRAME)
        .append("┤" if row in labels else "│", FRAME)
        .append_text(canvas.row(row))
        for row in range(rows)
    ]
    return [*lines, _axis(last, chart.x_name, margin, canvas.columns)]


def _settled(points: Sequence[XY]) -> Sequence[XY]:
    """Return a curve without its steep beginning, which would leave no room for the rest."""
    return points[len(points) // 10 :] if len(points) >= LEAST_SETTLED else points


def smooth(points: Sequence[XY], reach: int) -> list[XY]:
    """Return the moving mean of a curve, which lags behind nothing but at its very end.

    Args:
        points: The curve.
        reach: Number of values that the mean takes in on either side.
    """
    sums = [0.0, *itertools.accumulate(y for _, y in points)]
    smoothed: list[XY] = []
    for i, (x, _) in enumerate(points):
        # As many before as after, or the steep beginning would be flattened.
        first, last = i - min(reach, i), min(i + min(reach, i), len(points) - 1)
        smoothed.append((x, (sums[last + 1] - sums[first]) / (last + 1 - first)))
    return smoothed


def sparkline(values: Sequence[float], width: int, most: float | None = None) -> str:
    """Return a curve one character high, from 0 to `most`, or to its own greatest value."""
    if not values or width < 1:
        return ""
    columns = min(width, len(values))
    means = [
        _mean(values[i * len(values) // columns : (i + 1) * len(values) // columns])
        for i in range(columns)
    ]
    top = most or max(means)
    last = len(BLOCKS) - 1
    return "".join(
        BLOCKS[min(last, max(0, round(mean / top * last))) if top > 0 else 0] for mean in means
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    is_log: bool

    @classmethod
    def around(cls, ys: Iterable[float], chart: Chart) -> _Scale:
        """Return a scale that shows all values and the level, with a little room."""
        values = [*ys, *([chart.level] if chart.level is not None else [])]
        low, high = min(*values, chart.least), max(values)
        if chart.can_be_log and low > 0 and high / low >= LOG_FROM:
            return cls(low / 1.05, high * 1.05, is_log=True)
        room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        bottom = low if low == chart.least else low - room
        return cls(bottom, min(high + room, max(high, chart.most)), is_log=False)

    def share(self, y: float) -> float:
        """Return how far up a value lies, from 0 to 1; off these where it is off the scale."""
        if self.is_log:
            share = math.log(max(y, 1e-300) / self.low) / math.log(self.high / self.low)
        else:
            share = (y - self.low) / (self.high - self.low)
        return min(2.0, max(-1.0, share))

    def value(self, share: float) -> float:
        """Return the value that lies so far up."""
        if self.is_log:
            return self.low * (self.high / self.low) ** share
        return self.low + share * (self.high - self.low)


class _Canvas:
    """Dots, two across and four down to a character; a character has the colour drawn last."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.dots_across, self.dots_down = 2 * columns, 4 * rows
        self._bits = [[0] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]
        self._numbers: dict[int, int] = {}

    def upright(self, x: int, top: float, bottom: float, style: str) -> None:
        """Set the dots of a column between two heights; what is off the canvas is not seen."""
        first, last = max(0, round(top)), min(self.dots_down - 1, round(bottom))
        column, side = divmod(x, 2)
        if not 0 <= column < self.columns:
            return
        for row in range(first // 4, last // 4 + 1):
            bits = UPRIGHT[side][max(first - 4 * row, 0)][min(last - 4 * row, 3)]
            if self._styles[row][column] != style:  # a character has one colour: the newest one's
                self._styles[row][column], self._bits[row][column] = style, 0
            self._bits[row][column] |= bits

    def band(self, ends: Sequence[tuple[XY, XY]], style: str) -> None:
        """Fill what lies between two curves."""
        columns: dict[int, tuple[float, float]] = {}
        for (x, top), (_, bottom) in ends:
            highest, lowest = columns.get(round(x), (top, bottom))
            columns[round(x)] = min(top, highest), max(bottom, lowest)
        for x, (top, bottom) in columns.items():
            self.upright(x, top, bottom, style)

    def curve(self, places: Sequence[XY], style: str) -> None:
        """Join places from left to right."""
        columns = {round(x): y for x, y in places}  # the newest of those that share a column
        ends = [*columns.items()]
        for x, y in ends[:1]:
            self.upright(x, y, y, style)
        for (x, y), (next_x, next_y) in itertools.pairwise(ends):
            slope = (next_y - y) / (next_x - x)
            for right in range(x + 1, next_x + 1):
                before, now = y + slope * (right - 1 - x), y + slope * (right - x)
                # Without the row of the column before, or a flat curve would be two rows thick.
                step = math.copysign(1.0, now - before) if abs(now - before) > 1 else now - before
                self.upright(right, min(before + step, now), max(before + step, now), style)

    def dashes(self, y: float, style: str) -> None:
        """Draw a dashed line across."""
        for x in range(self.dots_across):
            if x % 4 < 2:
                self.upright(x, y, y, style)

    def mark(self, x: float, number: int) -> None:
        """Draw a dotted line down, with a number on top."""
        column = round(x) // 2
        self._numbers[column] = number
        for row in range(1, self.rows):
            if not self._bits[row][column]:
                self._bits[row][column], self._styles[row][column] = 0x01 | 0x04, MARK

    def row(self, row: int) -> Text:
        """Return a line of characters."""
        text = Text()
        cells = [(chr(0x2800 + bits) if bits else " ", style) for bits, style in self._cells(row)]
        if row == 0:
            for column, number in self._numbers.items():
                cells[column] = NUMBERS[(number - 1) % len(NUMBERS)], f"bold {MARK}"
        for style, run in itertools.groupby(cells, key=lambda cell: cell[1]):
            text.append("".join(character for character, _ in run), style)
        return text

    def _cells(self, row: int) -> Iterable[tuple[int, str]]:
        return zip(self._bits[row], self._styles[row], strict=True)


def _labels(scale: _Scale, say: Callable[[float], str], rows: int) -> dict[int, str]:
    """Return figures by row: a few, evenly spaced, no two alike."""
    count = 2 if rows < 5 else 3 if rows < 10 else 4 if rows < 16 else 5
    places = {round(i * (rows - 1) / (count - 1)) for i in range(count)}
    labels: dict[int, str] = {}
    for row in sorted(places):
        label = say(scale.value(1 - row / max(1, rows - 1)))
        if label not in labels.values():
            labels[row] = label
    return labels


def _axis(last: float, name: str, margin: int, columns: int) -> Text:
    left, middle, right = "0 ", f" {name} ", f" {last:,.0f}" if last >= 10 else f" {last:.2g}"
    free = columns - len(left) - len(middle) - len(right)
    if free < 2:
        return Text(" " * margin + "└" + "─" * columns, FRAME)
    dashes = "─" * (free // 2), "─" * (free - free // 2)
    return Text(f"{' ' * margin}└{left}{dashes[0]}{middle}{dashes[1]}{right}", FRAME)


def _nothing_yet(width: int, height: int) -> list[Text]:
    lines = [Text() for _ in range(height)]
    lines[height // 2] = Text("nothing yet".center(width), FRAME)
    return lines
