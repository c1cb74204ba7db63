"""How much of one's own data may be damaged."""

from __future__ import annotations

import math

from traintime.recipe import Recipe

BOUND_FROM = 20
"""Samples from which on one may be damaged, however small the share that may."""


def most_damaged(recipe: Recipe, samples: int) -> int:
    """Return how many of some samples may be unreadable."""
    at_least = 1 if recipe.max_damaged and samples >= BOUND_FROM else 0
    return max(at_least, int(recipe.max_damaged * samples))


def share_that_allows(damaged: int, samples: int) -> float:
    """Return the `max_damaged` to type so that this many may be."""
    return math.ceil(1000 * damaged / samples) / 1000
