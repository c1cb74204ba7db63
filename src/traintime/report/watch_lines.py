"""What the screen of a watched run is put together from: lines of a known width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.text import Text

DIM, RULE = "grey62", "grey35"
GAP = 3


def fitted(line: Text, width: int) -> Text:
    """Return a line that is just so wide; what is too long ends in an ellipsis."""
    line = line.copy()
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


def rule(words: Text, width: int) -> Text:
    """Return a heading with a thin line after it."""
    line = words.copy().append(" ")
    return line.append("─" * max(0, width - line.cell_len), RULE)


def labelled_line(label: str, value: Text | str, label_width: int) -> Text:
    """Return a value with a dim label in front."""
    return (
        Text()
        .append(label.ljust(label_width), DIM)
        .append_text(value if isinstance(value, Text) else Text(value))
    )


def beside(columns: Sequence[Iterable[Text]], widths: Sequence[int]) -> list[Text]:
    """Return blocks of lines next to each other, each as wide as it is given."""
    lines: list[Text] = []
    for row in zip_longest(*columns, fillvalue=Text()):
        cells = [fitted(cell, width) for cell, width in zip(row, widths, strict=True)]
        lines.append(Text(" " * GAP).join(cells))
    return lines


def wrapped(line: Text, width: int, indent: int) -> list[Text]:
    """Return a line broken between words, what follows the first one indented."""
    parts: list[Text] = []
    rest = line
    while rest.cell_len > width:
        room = width - (indent if parts else 0)
        cut = rest.plain.rfind(" ", indent if not parts else 0, room + 1)
        cut = cut if cut > 0 else room
        head, rest = rest.divide([cut])
        parts.append(head)
        rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
        if rest.cell_len <= width - indent:
            break
    parts.append(rest)
    return [parts[0], *(Text(" " * indent).append_text(part) for part in parts[1:] if part)]
