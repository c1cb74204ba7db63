"""The measurements that `ProcessorRates` stands for: a tenth of a second for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import sleep

import torch
from torch import Tensor

from traintime.hardware.processor import ProcessorRates
from traintime.hardware.timer import time_calls

SIDE = 512
LONG, SHORT, SHARED, PLAIN = 10_000_000, 200_000, 40_000, 1
"""Values of a vector: beyond any cache, within it, just shared by the cores (torch does from
32,768 on), and next to nothing."""
CORE_TAKEN_S = 1e-3
"""A call that the cores share takes so long only where one of them has to be waited for."""
MOST_LOOKS, PAUSE_S = 5, 0.3
BYTES_PER_SUM = 12
"""Of a value that is added to another: both are read, one is written, 4 bytes each."""


def measure_processor() -> ProcessorRates:
    """Return what the processor sustains right now.

    A look at it while something else holds a core is worth nothing, and tried again.
    """
    found = _look()
    for _ in range(MOST_LOOKS - 1):
        if found.parallel_call_s < CORE_TAKEN_S:
            break
        sleep(PAUSE_S)
        found = _look()
    return found


def _look() -> ProcessorRates:
    square, half, vectors = _operands()

    def seconds(call: Callable[[], object], budget_s: float = 0.012) -> float:
        return time_calls(call, budget_s=budget_s).median_s

    def sum_s(count: int, budget_s: float = 0.012) -> float:
        return seconds(lambda: vectors[count].add_(1.0), budget_s)

    def bandwidth(count: int, budget_s: float = 0.012) -> float:
        into, other = vectors[count], vectors[-count]
        return BYTES_PER_SUM * count / seconds(lambda: into.add_(other), budget_s)

    flops = 2.0 * SIDE**3
    return ProcessorRates(
        product_flops=flops / seconds(lambda: torch.mm(square, square)),
        half_product_flops=flops / seconds(lambda: torch.mm(half, half)),
        memory_bandwidth=bandwidth(LONG, 0.02),
        cache_bandwidth=bandwidth(SHORT),
        call_s=sum_s(PLAIN),
        parallel_call_s=sum_s(SHARED),
    )


@cache
def _operands() -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Return matrices in fp32 and bf16, and vectors by length, what is added to them by -length."""
    square = torch.randn(SIDE, SIDE)
    vectors = {count: torch.zeros(count) for count in (LONG, SHORT, SHARED, PLAIN)}
    vectors |= {-count: torch.ones(count) for count in (LONG, SHORT)}
    return square, square.bfloat16(), vectors
