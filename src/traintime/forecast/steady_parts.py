"""Measuring on a processor that others share: what was timed in a slow moment is timed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from traintime.hardware.processor import ProcessorRates, slowness, typical

SLOW = 1.25
"""Times as slow as usual, from which a moment was slow."""
MOST_AGAIN = 2
"""Parts that are measured again, so that measuring ends."""

Result = TypeVar("Result")


def in_steady_parts(
    parts: Sequence[Callable[[], Sequence[Result]]],
    look: Callable[[], ProcessorRates],
    better: Callable[[Result, Result], Result],
    usual: ProcessorRates | None = None,
) -> tuple[list[Result], list[ProcessorRates]]:
    """Return the results of all parts, and the looks at the processor before, between and after.

    A part is slow if the processor was before it or behind it. The slowest ones are measured again,
    and the better of both counts.

    Args:
        parts: Each measures for about a second, and the same whenever it is called.
        look: Returns what the processor sustains at the moment.
        better: Returns the better of two results.
        usual: What the processor sustains; what the looks say themselves if it is not given.
    """
    looks, found = [look()], list[Sequence[Result]]()
    for part in parts:
        found.append(part())
        looks.append(look())
    usual = usual or typical(looks)
    slow = [max(pair) for pair in pairwise(slowness(each, usual) for each in looks)]
    worst = sorted(range(len(parts)), key=slow.__getitem__, reverse=True)[:MOST_AGAIN]
    for number in (number for number in worst if slow[number] > SLOW):
        found[number] = list(map(better, found[number], parts[number]()))
    return [result for results in found for result in results], looks
