"""Small tables, written as files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

HEADER = ("id", "Age", "Income", "Home", "When", "Status")


def loans(path: Path, count: int = 60, seed: int = 0) -> Path:
    """Write loans that are good where the income is high; each has its own id, and a date."""
    random = np.random.default_rng(seed)
    rows: list[list[str]] = []
    for number in range(count):
        good = number % 3 > 0
        income = random.normal(4000 if good else 2000, 300)
        home = ("own", "rent", "parents")[int(random.integers(3))]
        day = f"2024-01-{number % 28 + 1:02d}"
        age, status = str(20 + int(random.integers(50))), "good" if good else "bad"
        rows.append([f"L{number:04d}", age, f"{income:.2f}", home, day, status])
    return write(path, HEADER, rows)


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a table as it is, without quotation marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(header), *map(",".join, rows)]) + "\n")
    return path


def cells_of(path: Path) -> list[list[str]]:
    """Return the cells of a table that was written here, its header first."""
    return [line.split(",") for line in path.read_text().splitlines()]


def edit(path: Path, changes: dict[tuple[int, str], str]) -> None:
    """Put text into cells.

    Args:
        path: Of the table.
        changes: By line, from 1, and column.
    """
    header, *rows = cells_of(path)
    for (line, column), text in changes.items():
        rows[line - 2][header.index(column)] = text
    write(path, header, rows)
