"""The law of a kernel's time on a device: arithmetic, memory traffic, launch.

    t = ((F / (P·s·e·g))^p + (Q / (B·b·h))^p)^(1/p) + t₀

F are FLOP, P the device's peak for the kernel's number format, s the share of it that the device
sustains, e the share that this kind of kernel reaches at best, and g how much of that is left at
its sides. Q are bytes, B the bandwidth, b the share of it that the kind reaches, and h what the
cache adds where there are few bytes. p joins both: they overlap, but not wholly. t₀ is what a
kernel costs at least.

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
    """Return how much of its best rate a core reaches at one side of a product, 0 to 1.

    Short sides leave parts of a tile empty, and a short inner side leaves the pipeline cold.

    Args:
        side: Rows, columns or inner side.
        at_half: Side at which half of the rate is reached.
    """
    return side / (side + at_half)


CORE_FLOPS = 1e12


def widening(core_flops: Number, growth: Number) -> Any:
    """Return how much wider tiles have to be for a core of this rate than for one of 10¹² FLOP/s.

    Values of a tile of r rows and c columns are loaded 1/r + 1/c times as often as they are
    computed with, so the faster a core computes beside its caches, the larger the tile that feeds
    it (Williams, Waterman, Patterson 2009, within a core).

    Args:
        core_flops: FLOP/s of one core by the data sheet.
        growth: 1 where caches are as fast in all devices, 0 where they are as fast as their cores.
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


def share_at_sides(
    batch: Number,
    rows: Number,
    columns: Number,
    inner: Number,
    cores: Number,
    rows_at_half: Number,
    columns_at_half: Number,
    inner_at_half: Number,
    waves_at_half: Number,
    inner_tile: Number = inf,
) -> Any:
    """Return how much of a device's best rate a product of these sides reaches, 0 to 1.

    Args:
        batch: See `num_tiles`.
        rows: See there.
        columns: See there.
        inner: See there.
        cores: See `share_of_waves`.
        rows_at_half: See `share_of_side`.
        columns_at_half: See there.
        inner_at_half: See there.
        waves_at_half: See `share_of_waves`.
        inner_tile: See `num_tiles`.
    """
    inside = share_of_side(rows, rows_at_half) * share_of_side(columns, columns_at_half)
    inside = inside * share_of_side(inner, inner_at_half)
    tiles = num_tiles(batch, rows, columns, inner, inner_tile)
    return inside * share_of_waves(tiles, cores, waves_at_half)


def bandwidth_gain(num_bytes: Number, cache_gain: Number, cache_bytes: Number) -> Any:
    """Return how much faster than memory a kernel's traffic is where part of it stays in the cache.

    Args:
        num_bytes: That the kernel moves.
        cache_gain: Bandwidth of the cache over that of the memory, less 1.
        cache_bytes: Traffic at which half of the gain is left.
    """
    return 1.0 + cache_gain / (1.0 + num_bytes / cache_bytes)


def kernel_seconds(arithmetic_s: Number, traffic_s: Number, overlap: Number) -> Any:
    """Return the time of a kernel whose arithmetic and traffic would take so long alone.

    Args:
        arithmetic_s: Seconds of arithmetic alone.
        traffic_s: Seconds of memory traffic alone.
        overlap: p: 1 is one after the other, infinity hides the shorter wholly.
    """
    return (arithmetic_s**overlap + traffic_s**overlap) ** (1.0 / overlap)
