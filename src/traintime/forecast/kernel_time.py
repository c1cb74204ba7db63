"""The law of a kernel's time on a device: arithmetic, memory traffic, launch.

    t = ((F / (P·s·e·g))^p + (Q / (B·r·b·h))^p)^(1/p) + t₀

F are FLOP, P the device's peak for the kernel's number format, s the share of it that the device
sustains, e the share that this kind of kernel reaches at best, and g how much of that is left at
its sides. Q are bytes, B the bandwidth, r the share of it that the device sustains, b what the kind
reaches of that, and h what the cache adds where there are few bytes. p joins both: they overlap,
but not wholly. t₀ is what a kernel costs at least.

Whatever the shares are, no kernel's arithmetic takes less than F / P, and its traffic no less than
Q / (B·h): both are joined with what the shares say (`no_faster`). Only a 3×3 convolution in full
fp32 may exceed the peak, up to `WINOGRAD` times.

The functions take numbers or tensors alike: the calibration differentiates what the forecast
computes. References: Williams, Waterman, Patterson 2009 (roofline); Lee et al. 2025 (NeuSight:
tiles and waves).
"""

from __future__ import annotations

from math import inf
from typing import Any, Protocol


class Number(Protocol):
    """A float, or a tensor of them."""

    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...


TILE = 128.0
WINOGRAD = 2.25
"""Most of the peak that a 3×3 convolution in full fp32 reaches: Winograd's algorithm for 2×2
results at once takes 16 multiplications for 36 (Lavin and Gray 2016)."""


def num_tiles(
    batch: Number, rows: Number, columns: Number, inner: Number, inner_tile: Number = inf
) -> Any:
    """Return how many parts a product of these sides is cut into, each for one core.

    Args:
        batch: Products.
        rows: Of the result.
        columns: Of the result.
        inner: Side that is summed over; a long one is split among cores too (split-K).
        inner_tile: What of the inner side one part sums at least.
    """
    return batch * (rows / TILE + 1.0) * (columns / TILE + 1.0) * (inner / inner_tile + 1.0)


def share_of_side(side: Number, at_half: Number) -> Any:
    """Return how much of its best rate a core reaches at the inner side of a product, 0 to 1.

    A short one leaves the pipeline cold.

    Args:
        side: Inner side.
        at_half: Side at which half of the rate is reached.
    """
    return side / (side + at_half)


def loading(
    rows: Number,
    columns: Number,
    rows_least: Number,
    columns_least: Number,
    value_bytes: Number = 2.0,
) -> Any:
    """Return how long a core of 10¹² FLOP/s loads the values of a tile, over how long it computes.

    Values of a tile of r rows and c columns are loaded 1/r + 1/c times as often as they are
    computed with.

    Args:
        rows: Of the result.
        columns: Of the result.
        rows_least: Rows of 16-bit values that keep such a core computing, were there no end of
            columns.
        columns_least: Columns so.
        value_bytes: Of a value.
    """
    return (rows_least / rows + columns_least / columns) * (value_bytes / 2.0)


def stretch(loading: Number, overlap: Number) -> Any:
    """Return by how much loading its values makes a product longer.

    Args:
        loading: Over the time of arithmetic.
        overlap: p, as in `kernel_seconds`.
    """
    return (1.0 + loading**overlap) ** (1.0 / overlap)


CORE_FLOPS = 1e12


def widening(core_flops: Number, growth: Number) -> Any:
    """Return how much wider tiles have to be for a core of this rate than for one of 10¹² FLOP/s.

    The faster a core computes beside its caches, the larger the tile that feeds it (Williams,
    Waterman, Patterson 2009, within a core).

    Args:
        core_flops: FLOP/s that one core sustains.
        growth: 1 where caches are as fast in all devices, 0 where they are as fast as their cores;
            no more than 1, or a faster core would take longer.
    """
    return (core_flops / CORE_FLOPS) ** growth


def share_of_waves(tiles: Number, cores: Number, waves_at_half: Number) -> Any:
    """Return how much of the device's rate so many tiles reach: few leave cores idle.

    Args:
        tiles: That the product is cut into.
        cores: Streaming multiprocessors of the device.
        waves_at_half: Tiles per core at which half of the rate is reached.
    """
    return 1.0 / (1.0 + waves_at_half * cores / tiles)


def bandwidth_gain(num_bytes: Number, cache_gain: Number, cache_bytes: Number) -> Any:
    """Return how much faster than memory a kernel's traffic is where part of it stays in the cache.

    Args:
        num_bytes: That the kernel moves.
        cache_gain: Bandwidth of the cache over that of the memory, less 1.
        cache_bytes: Traffic at which half of the gain is left.
    """
    return 1.0 + cache_gain / (1.0 + num_bytes / cache_bytes)


def no_faster(seconds: Number, least_seconds: Number, bend: float) -> Any:
    """Return a time that is never less than the least there can be, and as it was far above it.

    Args:
        seconds: By the shares; above 0.
        least_seconds: At the peak.
        bend: The larger, the sharper a rate bends where it meets its limit.
    """
    return seconds * (1.0 + (least_seconds / seconds) ** bend) ** (1.0 / bend)


def kernel_seconds(arithmetic_s: Number, traffic_s: Number, overlap: Number) -> Any:
    """Return the time of a kernel whose arithmetic and traffic would take so long alone.

    Args:
        arithmetic_s: Seconds of arithmetic alone.
        traffic_s: Seconds of memory traffic alone.
        overlap: p: 1 is one after the other, infinity hides the shorter wholly.
    """
    return (arithmetic_s**overlap + traffic_s**overlap) ** (1.0 / overlap)
