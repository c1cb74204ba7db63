"""Whether the chance that is told of a target holds, and what can be called by it.

A module of `eta_accuracy.py`. A chance holds if of all targets that got it that share is reached.
Who calls a target unreachable below some chance pays with false alarms: the lower the threshold,
the fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

CALLED_BELOW = 0.5
"""Chance below which a target is called unreachable."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class Told:
    """What was told of one target.

    Args:
        chance: Of reaching it.
        reached: Whether it was.
    """

    chance: float
    reached: bool


def called(told: Sequence[Told], threshold: float = CALLED_BELOW) -> float | None:
    """Return the share of targets that got a smaller chance; None if there are none."""
    return fmean(one.chance < threshold for one in told) if told else None


def calls(told: Sequence[Told]) -> dict[str, Any]:
    """Return how the chance held and what each threshold calls."""
    reached = [one for one in told if one.reached]
    never = [one for one in told if not one.reached]
    return {
        "reached": len(reached),
        "never": len(never),
        "trade_off": [
            {"below": t, "called": called(never, t), "false_alarms": called(reached, t)}
            for t in THRESHOLDS
        ],
        "reliability": [
            {
                "low": low,
                "high": high,
                "told": fmean(one.chance for one in inside),
                "reached": fmean(one.reached for one in inside),
                "targets": len(inside),
            }
            for low, high in pairwise(EDGES)
            if (inside := [one for one in told if _is_in(one.chance, low, high)])
        ],
    }


def _is_in(chance: float, low: float, high: float) -> bool:
    return low <= chance < high or chance == high == EDGES[-1]
