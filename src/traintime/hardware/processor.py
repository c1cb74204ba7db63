"""What a processor sustains: the few rates that everything else on it is a share of."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessorRates:
    """Rates of a processor, all its cores together, as torch reaches them.

    Args:
        product_flops: Of products of square matrices in fp32, in FLOP/s.
        half_product_flops: The same in bf16.
        memory_bandwidth: Of sums of vectors that no cache holds, in bytes per second.
        cache_bandwidth: Of sums of vectors that the cache holds.
        call_s: Of an operation on a single number, in seconds.
        parallel_call_s: Of an operation that is just long enough to be shared by all cores.
    """

    product_flops: float
    half_product_flops: float
    memory_bandwidth: float
    cache_bandwidth: float
    call_s: float
    parallel_call_s: float

    @property
    def wait_s(self) -> float:
        """What the cores lose by waiting for each other once."""
        return min(max(self.parallel_call_s - self.call_s, LEAST_WAIT_S), MOST_WAIT_S)

    def scaled_by(self, factor: float) -> ProcessorRates:
        """Return a guess of the rates of a processor that is so much faster."""
        return ProcessorRates(
            self.product_flops * factor,
            self.half_product_flops * factor,
            self.memory_bandwidth * factor,
            self.cache_bandwidth * factor,
            self.call_s / factor,
            self.parallel_call_s / factor,
        )


LEAST_WAIT_S, MOST_WAIT_S = 5e-7, 8e-6
"""Beyond that something else took a core while it was measured."""


def typical(samples: Sequence[ProcessorRates]) -> ProcessorRates:
    """Return the median of each rate: one that another program disturbed does not count."""
    values = zip(*(dataclasses.astuple(sample) for sample in samples), strict=True)
    return ProcessorRates(*map(statistics.median, values))


def slowness(sample: ProcessorRates, usual: ProcessorRates) -> float:
    """Return how many times slower a processor was than usual, the median of its rates."""
    return statistics.median(
        (
            usual.product_flops / sample.product_flops,
            usual.half_product_flops / sample.half_product_flops,
            usual.memory_bandwidth / sample.memory_bandwidth,
            usual.cache_bandwidth / sample.cache_bandwidth,
            sample.call_s / usual.call_s,
        )
    )


def unsteadiness(samples: Sequence[ProcessorRates]) -> float:
    """Return σ of the logarithm of a rate from one look to the next, the median of all rates.

    What a forecast cannot know of a machine that others share: it is not the same a second later.
    """
    if len(samples) < LEAST_SAMPLES:
        return 0.0
    values = zip(*(dataclasses.astuple(sample) for sample in samples), strict=True)
    return statistics.median(statistics.stdev(map(math.log, rates)) for rates in values)


LEAST_SAMPLES = 3
