"""Rows with labels in front and bars: what all that the terminal shows is made of."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

LABEL_WIDTH = 13
BAR_WIDTH = 30


def progress_bar(done: float, width: int = BAR_WIDTH) -> Text:
    """Return a bar that is filled to a share."""
    eighths = round(max(0.0, min(1.0, done)) * width * 8)
    full, rest = divmod(eighths, 8)
    tip = " ▏▎▍▌▋▊▉"[rest] if rest else ""
    bar = Text("█" * full + tip, "cyan")
    return bar.append("·" * (width - full - bool(tip)), "grey35")


def labelled(rows: Iterable[tuple[str, RenderableType]]) -> RenderableType:
    """Return rows with dim labels in front."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=LABEL_WIDTH - 2, style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, value)
    return Group(table)
