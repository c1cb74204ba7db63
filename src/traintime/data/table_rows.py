"""Which rows of a table are used: those with a class and something to tell it by, each once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from traintime.data.image_layout import listed
from traintime.data.table_columns import Column, is_nothing, read_column
from traintime.data.table_encoding import Rows
from traintime.data.table_file import TableFile
from traintime.errors import InputError, nearest

LEAST_OF_CLASS = 3
"""One each to train on, to validate on and to test on."""
MOST_NUMBERS = 20
"""Numbers as classes; of more, rows have to share one."""
ROWS_OF_NUMBER = 20
MOST_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class UsableTable:
    """The rows of a table that are used.

    Args:
        columns: All but the label.
        classes: Names, in the order of the labels.
        labels: (N,), the class of each row.
        numbers: (N,), where each stands in the file.
        skipped: Rows that cannot be used, and why.
        repeats: Rows that are left out since they repeat another.
        notes: What is not plain to see.
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    labels: Rows
    numbers: Rows
    skipped: Mapping[str, str]
    repeats: int
    notes: tuple[str, ...]


def usable_rows(path: Path, table: TableFile, label: str | None) -> UsableTable:
    """Return the rows of a table that are used.

    Args:
        path: Where it is, for messages.
        table: What stands there.
        label: The column that holds the classes.

    Raises:
        InputError: There is no such column, or it holds no classes.
    """
    place = _place_of_label(path, table, label)
    truths = [row[place] for row in table.rows]
    columns = tuple(
        read_column(name, [row[i] for row in table.rows], decimal_comma=table.decimal_comma)
        for i, name in enumerate(table.header)
        if i != place
    )
    name = table.header[place]
    _refuse_amounts(path, table, place, truths)
    why = _why_unusable(columns, truths, name)
    usable = np.array([row for row in range(len(truths)) if row not in why], np.int64)
    once, repeats, notes = _without_repeats(path, table, usable)
    counts = Counter(truths[row] for row in once)
    _refuse_no_classes(path, name, counts)
    rows = np.array([row for row in once if counts[truths[row]] >= LEAST_OF_CLASS], np.int64)
    why |= {int(row): _too_rare(truths[row], counts) for row in np.setdiff1d(once, rows)}
    classes = _in_order([name for name, count in counts.items() if count >= LEAST_OF_CLASS])
    number = {name: i for i, name in enumerate(classes)}
    skipped = table.broken | {table.numbers[row]: reason for row, reason in why.items()}
    return UsableTable(
        columns=tuple(column.taken(rows) for column in columns),
        classes=classes,
        labels=np.array([number[truths[row]] for row in rows], np.int64),
        numbers=np.array(table.numbers, np.int64)[rows],
        skipped={f"{table.unit} {number}": skipped[number] for number in sorted(skipped)},
        repeats=repeats,
        notes=(*table.notes, *notes),
    )


def _too_rare(truth: str, counts: Counter[str]) -> str:
    rows = "row has" if counts[truth] == 1 else "rows have"
    return f"is of class {truth!r}, which {counts[truth]} {rows}, and {LEAST_OF_CLASS} are needed"


def _place_of_label(path: Path, table: TableFile, label: str | None) -> int:
    names = [repr(name) if " " in name else name for name in table.header]
    shown = names[:MOST_SHOWN_COLUMNS]
    more = len(names) - len(shown)
    columns = ", ".join(shown) + (f" and {more:,} more" if more else "")
    if label is None:
        raise InputError(
            f"Which column of '{path.name}' holds the classes is not said. Type label= and one "
            f"of: {columns}"
        )
    wanted = " ".join(label.split())
    if wanted not in table.header:
        near = nearest(label, table.header)
        hint = f"Did you mean '{near}'? " if near else ""
        raise InputError(
            f"'{path.name}' has no column '{label}'. {hint}The first line has: {columns}"
        )
    if len(table.header) == 1:
        raise InputError(
            f"'{path.name}' holds no column but '{label}', so there is nothing to tell the classes "
            "by. Expected are cells between commas, semicolons or tabs"
        )
    return table.header.index(wanted)


def _refuse_amounts(path: Path, table: TableFile, place: int, truths: list[str]) -> None:
    """Refuse a label of numbers that are no names of classes."""
    name = table.header[place]
    column = read_column(name, truths, decimal_comma=table.decimal_comma)
    if column.kind not in ("number", "count"):
        return
    values = np.unique(column.numbers[column.is_known])
    known = int(column.is_known.sum())
    if len(values) > MOST_NUMBERS and len(values) > known / ROWS_OF_NUMBER:
        raise InputError(
            f"label={name} holds {len(values):,} different numbers from {values[0]:g} to "
            f"{values[-1]:g}. What is learned here is to tell classes apart, not to estimate an "
            f"amount. Name another column of '{path.name}', or replace the numbers by a few ranges"
        )


def _why_unusable(columns: Sequence[Column], truths: Sequence[str], name: str) -> dict[int, str]:
    """Return the rows that have no class, or nothing to tell it by."""
    telling = [column for column in columns if column.kind in ("number", "value")]
    is_bare = np.ones(len(truths), bool)
    for column in telling:
        is_bare &= ~column.is_known
    why = {int(row): f"has nothing but {name}" for row in np.flatnonzero(is_bare & bool(telling))}
    return why | {row: f"has no {name}" for row, truth in enumerate(truths) if is_nothing(truth)}


def _refuse_no_classes(path: Path, label: str, counts: Counter[str]) -> None:
    enough = [name for name, count in counts.items() if count >= LEAST_OF_CLASS]
    if len(enough) > 1:
        return
    if len(counts) == 1:
        raise InputError(
            f"Every row of '{path.name}' has the same {label}, {next(iter(counts))!r}, and telling "
            "classes apart needs two. Name another column with label="
        )
    if not counts:
        raise InputError(
            f"No row of '{path.name}' has both a {label} and something to tell it by. Name another "
            "column with label="
        )
    few = [f"{name!r} ({count})" for name, count in counts.most_common()]
    raise InputError(
        f"label={label} has {len(counts):,} values in '{path.name}', and {len(enough) or 'none'} "
        f"of them in {LEAST_OF_CLASS} rows or more, to train, validate and test on: {listed(few)}. "
        "Name another column, or add rows"
    )


def _without_repeats(path: Path, table: TableFile, rows: Rows) -> tuple[Rows, int, tuple[str, ...]]:
    """Leave out rows that repeat another one, unless rows of this kind repeat by chance.

    A row that is trained on and tested on too would make the test look better than it is. Where
    there are no more different rows possible than pairs of rows, some are equal by chance, and
    leaving them out would change what is frequent.
    """
    seen: set[tuple[str, ...]] = set()
    first: list[int] = []
    for row in rows:
        cells = tuple(table.rows[row])
        if cells not in seen:
            seen.add(cells)
            first.append(int(row))
    repeats = len(rows) - len(first)
    if not repeats:
        return rows, 0, ()
    possible = sum(math.log(len(set(column))) for column in zip(*seen, strict=True))
    if possible > 2 * math.log(len(rows)):
        return np.array(first, np.int64), repeats, ()
    note = (
        f"Rows of '{path.name}' that repeat another one are kept ({repeats:,} of {len(rows):,}): "
        "with so few values, some are equal by chance"
    )
    return rows, 0, (note,)


def _in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return classes in the order of their numbers if they are all numbers, else of letters."""
    try:
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    except ValueError:
        return tuple(sorted(names))
