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
