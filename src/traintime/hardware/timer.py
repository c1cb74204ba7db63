"""The one timer of operations on a device: warmed up, synchronised, with its spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Timing:
    """How long something took, several times.

    Args:
        median_s: Median of the counted calls.
        low_s: Shortest of them.
        high_s: Longest of them.
        calls: How many were counted.
    """

    median_s: float
    low_s: float
    high_s: float
    calls: int


def time_calls(
    call: Callable[[], object],
    *,
    synchronize: Callable[[], object] = lambda: None,
    budget_s: float = 0.1,
    least_calls: int = 3,
    most_calls: int = 200,
) -> Timing:
    """Time a call again and again until the budget is used up.

    Args:
        call: What is timed. Its first two calls warm caches, allocators and compilers and stay out.
        synchronize: Waits until the device has done what it was given.
        budget_s: Seconds to spend on counted calls.
        least_calls: Counted calls even if the budget is exceeded.
        most_calls: Counted calls at most.
    """
    for _ in range(2):
        call()
    synchronize()
    seconds: list[float] = []
    spent = 0.0
    while len(seconds) < least_calls or (spent < budget_s and len(seconds) < most_calls):
        began = perf_counter()
        call()
        synchronize()
        seconds.append(perf_counter() - began)
        spent += seconds[-1]
    return Timing(statistics.median(seconds), min(seconds), max(seconds), len(seconds))
