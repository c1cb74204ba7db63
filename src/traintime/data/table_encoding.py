"""From columns to what a network takes, by what the training part holds and nothing else.

Sums are exact (`math.fsum`), so that the same table gives the same bits on every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traintime.data.table_columns import Column, Flags, Numbers

Features = NDArray[np.float32]
Rows = NDArray[np.int64]

MOST_VALUES = 64
"""Of a column, that get a feature of their own; the others share one."""
RARE_ROWS, RARE_SHARE = 3, 0.001
"""A value of fewer training rows is rare: nothing could be learned of it."""
IDENTIFIES = 0.9
"""Share of rows with a value of their own from which on a column names rows."""
FARTHEST = 10.0
"""Deviations from the mean that a number may lie; one beyond counts as that far."""
WHY_LEFT_OUT = {
    "date": "holds dates",
    "count": "counts the rows",
    "nothing": "is empty",
}


@dataclass(frozen=True)
class Encoded:
    """What a network is given of a column.

    Args:
        names: Of the features; none if the column is left out.
        values: (N,) of each.
        repaired: What was put in place of cells that cannot be used, in words.
        left_out: Why it is, if it is.
    """

    names: tuple[str, ...] = ()
    values: tuple[Features, ...] = ()
    repaired: str = ""
    left_out: str = ""


def encode(column: Column, train: Rows) -> Encoded:
    """Return what a network is given of a column, for all of its rows.

    Args:
        column: Of the table.
        train: Rows of the training part.
    """
    if column.kind in WHY_LEFT_OUT:
        return Encoded(left_out=WHY_LEFT_OUT[column.kind])
    encoded = _encode_numbers if column.kind == "number" else _encode_values
    features = list(encoded(column, train))
    if not features:
        return Encoded(left_out=_why_left_out(column, train))
    names, values = zip(*features, strict=True)
    return Encoded(names, values, _repaired(column, train))


def _encode_numbers(column: Column, train: Rows) -> Iterator[tuple[str, Features]]:
    """Yield the number in deviations from the mean, and whether it is missing."""
    known = column.numbers[train][column.is_known[train]]
    if not len(known):
        return
    mean = math.fsum(known) / len(known)
    deviation = math.sqrt(math.fsum(np.square(known - mean)) / len(known))
    if deviation > 0:
        filled = np.where(column.is_known, column.numbers, np.median(known))
        scaled = np.clip((filled - mean) / deviation, -FARTHEST, FARTHEST)
        yield column.name, scaled.astype(np.float32)
    if len(known) < len(train):
        yield f"{column.name} is missing", _as_feature(~column.is_known)


def _encode_values(column: Column, train: Rows) -> Iterator[tuple[str, Features]]:
    """Yield a feature for each frequent value, one for all others, and whether it is missing."""
    counts = _counts(column, train)
    if len(counts) >= IDENTIFIES * counts.total():
        return
    least = max(RARE_ROWS, math.ceil(RARE_SHARE * len(train)))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = {value: i for i, (value, n) in enumerate(ranked[:MOST_VALUES]) if n >= least}
    missing, other = len(frequent), len(frequent) + 1
    codes = np.array([frequent.get(cell, other) for cell in column.cells], np.int64)
    codes[column.is_missing] = missing
    names = [*(f"{column.name} = {value}" for value in frequent), f"{column.name} is missing"]
    is_varied = len(set(codes[train].tolist())) > 1
    for code, name in enumerate([*names, f"{column.name} is another"]):
        # What no training row has, nothing is learned of: a weight as it was drawn would be noise.
        if is_varied and (codes[train] == code).any():
            yield name, _as_feature(codes == code)


def _as_feature(flags: Flags) -> Features:
    return flags.astype(np.float32)


def _counts(column: Column, train: Rows) -> Counter[str]:
    return Counter(column.cells[row] for row in train if not column.is_missing[row])


def _why_left_out(column: Column, train: Rows) -> str:
    counts = _counts(column, train)
    if not counts:
        return "is empty in the training part"
    if len(counts) == 1 or column.kind == "number":
        return "has one value"
    if len(counts) >= IDENTIFIES * counts.total():
        return "has another value in nearly every row"
    return "has no frequent value"


def _repaired(column: Column, train: Rows) -> str:
    """Say how many cells hold nothing to go by, and what stands in for them."""
    unusable, missing = int(column.is_unusable.sum()), int(column.is_missing.sum())
    parts = [f"{missing:,} missing"] if missing else []
    if unusable:
        which = int(np.flatnonzero(column.is_unusable)[0])
        parts.append(f"{unusable:,} no number, such as {_shortened(column.cells[which])!r}")
    if not parts:
        return ""
    instead = "a value of its own"
    if column.kind == "number":
        known: Numbers = column.numbers[train][column.is_known[train]]
        instead = f"{np.median(known):g}, the median"
    return f"{' and '.join(parts)}: {instead}"


def _shortened(cell: str) -> str:
    return cell if len(cell) <= 20 else f"{cell[:19]}…"


def stacked(encoded: Sequence[Encoded]) -> Features:
    """Return all features of all columns, (N, F)."""
    return np.stack([values for column in encoded for values in column.values], axis=1)
