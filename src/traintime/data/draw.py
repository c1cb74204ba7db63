"""Which samples each part of a job gets: drawn by class, evenly, by the recipe's seed alone.

This module does not import torch, so that a folder's images can be read while torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traintime.data.catalogue import SplitSizes
from traintime.recipe import Recipe

Rows = NDArray[np.int64]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class PartRows:
    """The rows of each part.

    Args:
        train: That gradients are computed on.
        validation: That are watched; None if the test part is.
        test: Of the final score.
    """

    train: Rows
    validation: Rows | None
    test: Rows


def divide(
    labels: Labels,
    recipe: Recipe,
    sizes: SplitSizes,
    rows: Rows,
    own_test: Rows | None = None,
    own_validation: Rows | None = None,
) -> PartRows:
    """Divide samples into parts of exactly `sizes`.

    Args:
        labels: (N,), the class of each row of the data set.
        recipe: Its seed decides which rows are drawn.
        sizes: Of each part.
        rows: That the parts are drawn from, in ascending order.
        own_test: The data set's own test split, if it has one; rows of this array or another.
        own_validation: Its own validation split, if it has one.
    """
    random = np.random.default_rng(recipe.seed)
    test = own_test
    if test is None:
        test, rows = _drawn(labels, rows, sizes.test, random)
    validation = None
    if recipe.validate_on == "validation":
        validation = own_validation
        if validation is None:
            validation, rows = _drawn(labels, rows, sizes.validation, random)
    elif own_validation is not None:
        rows = np.concatenate([rows, own_validation])
    if sizes.train < len(rows):
        rows, _ = _drawn(labels, rows, sizes.train, random)
    return PartRows(rows, validation, test)


def with_every_class(parts: PartRows, labels: Labels) -> PartRows:
    """Return parts of the same sizes in which no class is missing that has a row for each.

    A class of few rows can be left out of a part when it is drawn in proportion. One of its rows
    then changes places with one of the class that the part has the most of.

    Args:
        parts: Drawn from all rows.
        labels: (N,), the class of each row.
    """
    held = [rows.copy() for rows in (parts.train, parts.validation, parts.test) if rows is not None]
    unused = np.setdiff1d(np.arange(len(labels)), np.concatenate(held))
    for place, rows in enumerate(held):
        for missing in np.setdiff1d(labels, labels[rows]):
            givers = [unused, *(other for i, other in enumerate(held) if i != place)]
            counts = [int((labels[giver] == missing).sum()) for giver in givers]
            # Nobody misses a row of those that are not used; a part keeps one of its own.
            giver = givers[0 if counts[0] else int(np.argmax(counts))]
            taken = np.flatnonzero(labels[rows] == np.bincount(labels[rows]).argmax())
            if max(counts) > (giver is not unused) and len(taken) > 1:
                given = np.flatnonzero(labels[giver] == missing)[0]
                rows[taken[0]], giver[given] = giver[given], rows[taken[0]]
    train, *validation, test = (np.sort(rows) for rows in held)
    return PartRows(train, validation[0] if validation else None, test)


def _drawn(labels: Labels, rows: Rows, take: int, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Draw rows at random with the classes in proportion.

    Args:
        labels: (N,), the class of each row of the data set.
        rows: The rows to draw from.
        take: How many to draw.
        random: Decides which.

    Returns:
        The rows drawn and the rows left, each in ascending order.
    """
    shuffled = random.permutation(rows)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels[rows])
    rank_in_class = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_drawn = rank_in_class < np.repeat(apportioned(counts, take), counts)
    return np.sort(by_class[is_drawn]), np.sort(by_class[~is_drawn])


def apportioned(counts: NDArray[np.int64], take: int) -> NDArray[np.int64]:
    """Return how many of each class to take so that they are in proportion and sum to `take`.

    Args:
        counts: Samples there are of each class.
        take: Samples to take, no more than there are.

    References:
        The method of largest remainders (Hamilton).
    """
    quotas, remainders = np.divmod(counts * take, counts.sum())
    nearest_to_one_more = np.argsort(-remainders, kind="stable")[: take - quotas.sum()]
    quotas[nearest_to_one_more] += 1
    return quotas
