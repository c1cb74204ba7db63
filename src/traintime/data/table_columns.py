"""What the columns of a table hold: numbers, values of a kind, dates, or a count of the rows.

That is read from all rows, as one reads what a file means. Everything that is learned from values,
such as a mean, is learned from the training part alone (`table_encoding.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "value", "date", "count", "nothing"]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "?"})
NEARLY_ALL = 0.9
LARGEST = 1e100
"""Numbers beyond are written by faults, and their squares have no place in a float."""
MOST_GAPS = 2.0
"""Times as many numbers as rows, up to which a column that only rises counts the rows."""
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ]\d{1,2}:\d{2}.*)?"
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: As it is headed.
        kind: What it holds.
        cells: (N,), as they stand there.
        is_missing: (N,), where there is nothing.
        numbers: (N,), of a column of numbers; NaN where there is none.
    """

    name: str
    kind: Kind
    cells: list[str]
    is_missing: Flags
    numbers: Numbers

    @cached_property
    def is_known(self) -> Flags:
        """(N,), where there is something that can be used."""
        return np.isfinite(self.numbers) if self.kind == "number" else ~self.is_missing

    @property
    def is_unusable(self) -> Flags:
        """(N,), where there is something that is none of the column's numbers."""
        return ~self.is_known & ~self.is_missing

    def taken(self, rows: NDArray[np.int64]) -> Column:
        """Return the column of some rows."""
        return Column(
            self.name,
            self.kind,
            [self.cells[row] for row in rows],
            self.is_missing[rows],
            self.numbers[rows],
        )


def read_column(name: str, cells: list[str], *, decimal_comma: bool = False) -> Column:
    """Return a column with what it holds.

    Args:
        name: As it is headed.
        cells: (N,), stripped.
        decimal_comma: Whether 3,5 may be a number.
    """
    is_missing = np.array([is_nothing(cell) for cell in cells], bool)
    numbers = _numbers(cells, decimal_comma=decimal_comma)
    known = int((~is_missing).sum())
    if not known:
        kind: Kind = "nothing"
    elif np.isfinite(numbers).sum() >= NEARLY_ALL * known:
        kind = "count" if _counts_rows(numbers) else "number"
    else:
        dates = sum(DATE.fullmatch(cell) is not None for cell in cells)
        kind = "date" if dates >= NEARLY_ALL * known else "value"
    return Column(name, kind, cells, is_missing, numbers)


def is_nothing(cell: str) -> bool:
    """Say whether a cell stands for a value that is not known."""
    return len(cell) < 5 and cell.lower() in MISSING


def _numbers(cells: Sequence[str], *, decimal_comma: bool) -> Numbers:
    """Return the numbers in cells, NaN where there is none that can be reckoned with."""
    try:
        numbers = np.array([float(cell) for cell in cells], np.float64)
    except ValueError:
        numbers = np.array([as_number(cell, decimal_comma=decimal_comma) for cell in cells])
    numbers[~(np.abs(numbers) < LARGEST)] = np.nan
    return numbers


def as_number(cell: str, *, decimal_comma: bool = False) -> float:
    """Return the number in a cell, or NaN."""
    if decimal_comma and cell.count(",") == 1 and "." not in cell:
        cell = cell.replace(",", ".")
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _counts_rows(numbers: Numbers) -> bool:
    """Say whether numbers only rise from row to row, by little: an index, or a running number.

    It would tell where in the file a row stands, and files are often sorted by class.
    """
    known = numbers[np.isfinite(numbers)]
    if len(known) < len(numbers) or len(known) < 3 or (known != np.rint(known)).any():
        return False
    return bool((np.diff(known) > 0).all()) and known[-1] - known[0] < MOST_GAPS * len(known)
