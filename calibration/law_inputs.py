"""What the law needs of measured points beside its parameters, gathered once as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from points import Points, is_product, on_vector_units
from traintime.forecast.device_step import tile_cores
from traintime.forecast.kernel_classes import (
    ALIGNED,
    lies_along,
    slow_in_nhwc,
    splits_inner,
    steps_in_turn,
)
from traintime.hardware.devices import DeviceSpec


@dataclass(frozen=True)
class Products:
    """What only kernels with arithmetic have; M of the N kernels.

    Args:
        kernel: (M,) number of each among all kernels.
        point, kernel_class, flops, sides, half: As `Points` has them.
        cores: (M,) of the device.
        peak: (M,) FLOP/s by its data sheet.
        core_flops: (M,) of that, of one core.
        on_matrix: (M,) whether a matrix engine computes it.
        tf32: (M,) whether it rounds to TF32.
        log_watts: (M,) rated, for each 10¹² FLOP/s that power has to feed.
        year: (M,) of the device, after 2020.
        misaligned: (M,) how far values are from being loaded several at a time.
        log_cap: (M,) of the largest share of the peak.
        contiguous_half: (M,) whether it is of NCHW images in 16 bits.
        splits: (M,) whether a long inner side is split.
    """

    kernel: Tensor
    point: Tensor
    kernel_class: Tensor
    flops: Tensor
    sides: Tensor
    half: Tensor
    cores: Tensor
    peak: Tensor
    core_flops: Tensor
    on_matrix: Tensor
    tf32: Tensor
    log_watts: Tensor
    year: Tensor
    misaligned: Tensor
    log_cap: Tensor
    contiguous_half: Tensor
    splits: Tensor


@dataclass(frozen=True)
class Static:
    """What of the points never changes while fitting, gathered once."""

    points: Points
    products: Products
    in_turn: Tensor
    peak: Tensor
    bandwidth: Tensor
    device: Tensor
    architecture: Tensor
    software: Tensor
    host: Tensor
    vendor: Tensor
    lanes: Tensor
    contiguous_half_conv: Tensor
    contiguous_op: Tensor
    fallback: Tensor
    target: Tensor


def prepare(
    points: Points,
    devices: Sequence[str],
    architectures: Sequence[str],
    software: Sequence[str],
) -> Static:
    """Gather what the law needs beside its parameters."""
    vendors = vendors_of(points.spec)
    vector_class = points.of_classes(on_vector_units)[points.kernel_class]
    conv = points.of_classes(lambda kind: "convolution" in kind)[points.kernel_class]
    product = points.of_classes(is_product)[points.kernel_class]
    half_peak = torch.tensor([s.half_flops or s.fp32_flops or 1.0 for s in points.spec])
    fp32_peak = torch.tensor([s.fp32_flops or s.half_flops or 1.0 for s in points.spec])
    tf32 = torch.tensor([precision == "tf32" for precision in points.precision])
    tf32_peak = torch.tensor([s.tf32_flops or s.fp32_flops or 1.0 for s in points.spec])
    products_peak = torch.tensor(
        [s.fp32_matrix_flops or s.fp32_flops or s.half_flops or 1.0 for s in points.spec]
    )
    full_peak = torch.where(tf32, tf32_peak, products_peak)
    at = points.point
    peak = torch.where(points.half, half_peak[at], full_peak[at])
    peak = torch.where(vector_class, fp32_peak[at], peak)
    rounded = tf32[at] & ~points.half & ~vector_class
    on_matrix = (peak > ON_MATRIX_FROM * products_peak[at]) & ~vector_class | rounded
    by_layout = torch.tensor([depends_on_layout(name) for name in points.classes])
    contiguous = points.contiguous[at] & by_layout[points.kernel_class]
    fed_peak = torch.where(on_matrix, peak, torch.minimum(peak, fp32_peak[at]))
    cores = torch.tensor([tile_cores(s) for s in points.spec])[at]
    log_watts = torch.tensor([math.log(watts_of(s)) for s in points.spec])[at]
    year = torch.tensor([years_after_2020(s) for s in points.spec])[at]
    in_turn = _in_turn(points)
    (kernel,) = (points.flops > 0).nonzero(as_tuple=True)
    products = Products(
        kernel,
        *(
            value[kernel]
            for value in (
                at,
                points.kernel_class,
                points.flops,
                _sides_at_once(points, in_turn),
                points.half,
                cores,
                peak,
                peak / cores,
                on_matrix,
                rounded,
                log_watts - (fed_peak / 1e12).log(),
                year,
                _misaligned(points) * product * points.half,
                log_caps(points.classes)[points.kernel_class] * ~(points.half | rounded),
                contiguous & points.half,
                ~(points.contiguous[at] & ~_splits(points)),
            )
        ),
    )
    return Static(
        points=points,
        products=products,
        in_turn=in_turn,
        peak=peak,
        bandwidth=torch.tensor([s.bandwidth or 1.0 for s in points.spec]),
        device=torch.tensor([devices.index(s.key) for s in points.spec]),
        architecture=torch.tensor([architectures.index(s.architecture) for s in points.spec]),
        software=torch.tensor([software.index(software_of(row)) for row in points.rows]),
        host=_hosts(points),
        vendor=torch.tensor([vendors.index(s.vendor) for s in points.spec]),
        lanes=torch.tensor([doublings_of_lanes(s) for s in points.spec]),
        contiguous_half_conv=contiguous & points.half & conv,
        contiguous_op=contiguous,
        fallback=points.images[at] & ~points.contiguous[at] & _slow_in_nhwc(points),
        target=torch.tensor([math.log(row.seconds) for row in points.rows]),
    )


def _hosts(points: Points) -> Tensor:
    """Return (P,) numbers of the machines that points were measured on: one of a table's device."""
    rows = dict(zip(reversed(points.row_point.tolist()), reversed(points.rows), strict=True))
    names = [(getattr(rows[n], "source", ""), rows[n].device) for n in range(len(points.spec))]
    numbers = {name: n for n, name in enumerate(sorted(set(names)))}
    return torch.tensor([numbers[name] for name in names])


def _in_turn(points: Points) -> Tensor:
    """Return (N,) how many products of each kernel wait for each other."""
    recurrent = points.of_classes(lambda kind: steps_in_turn(kind, 2.0) > 1)[points.kernel_class]
    return points.sides[:, 0].where(recurrent, 1.0)


def _sides_at_once(points: Points, in_turn: Tensor) -> Tensor:
    """Return (N, 4) sides with only those products that a device computes at the same time."""
    return torch.cat([points.sides[:, :1] / in_turn[:, None], points.sides[:, 1:]], 1)


def _misaligned(points: Points) -> Tensor:
    """Return (N,) whether values of each kernel lie along sides that are no multiple of 8."""
    _, rows, columns, inner = points.sides.unbind(1)
    along = [lies_along(name) for name in points.classes]
    by_rows, by_inner = (
        torch.tensor([side in sides for sides in along])[points.kernel_class]
        for side in ("rows", "inner")
    )
    shortest = torch.minimum(rows.where(by_rows, NEVER), inner.where(by_inner, NEVER))
    padded = points.of_classes(lambda kind: "convolution" in kind)[points.kernel_class]
    along_columns, along_shortest = (_misalignment(side, padded) for side in (columns, shortest))
    return torch.maximum(along_columns, along_shortest)


def _misalignment(sides: Tensor, padded: Tensor) -> Tensor:
    """Return (N,) what `kernel_classes.misalignment` says of one side."""
    whole = sides.where(sides.isfinite(), ALIGNED).round().long()
    together = torch.gcd(whole, torch.tensor(ALIGNED)).where(sides > ALIGNED, ALIGNED).float()
    share = 1 - together.log2() / math.log2(ALIGNED)
    return torch.where(padded, share.ceil(), share)


NEVER = torch.tensor(math.inf)


def _splits(points: Points) -> Tensor:
    """Return (N,) which kernels split a long inner side on NCHW too."""
    of_class = points.of_classes(lambda kind: splits_inner(kind, contiguous=True))
    return of_class[points.kernel_class]


def _slow_in_nhwc(points: Points) -> Tensor:
    """Return (N,) which kernels convert from NHWC or have no good kernel for it."""
    in_16, in_32 = (
        torch.tensor([slow_in_nhwc(name, half=half) for name in points.classes])
        for half in (True, False)
    )
    number = points.kernel_class
    return torch.where(points.half, in_16[number], in_32[number])


def depends_on_layout(name: str) -> bool:
    """Say whether a class of kernels runs otherwise on NCHW than on NHWC."""
    kind = name.split("/")[0]
    return "convolution" in kind or kind in ("batch norm", "pooling")


WINOGRAD = 1.8
"""Most of the peak that an fp32 convolution of 3×3 reaches by Winograd's algorithm (Lavin 2016)."""


def log_caps(classes: Sequence[str]) -> Tensor:
    """Return (C,) logarithms of the largest share of the fp32 peak that a class can reach."""
    fast = [name.startswith("convolution/") and name.endswith("/3") for name in classes]
    return torch.tensor(fast) * math.log(WINOGRAD)


def software_of(row: object) -> str:
    """Return what rows of one framework share: an offset that no forecast has."""
    name = f"{getattr(row, 'source', 'neusight-ops')} {getattr(row, 'software', '')}"
    return name.strip()


ON_MATRIX_FROM = 1.5
"""Times the fp32 peak: a product that is computed faster than that is on a matrix engine."""


MEMORY_JOULES_PER_BYTE = 60e-12
"""Beside arithmetic: where the rate over the power limit meets zero in Zeus's table, 25 W with the
0.9 TB/s of a V100 and 75 W with the 0.7 TB/s of an A40 (zeus_power_throughput.csv)."""


def watts_of(spec: DeviceSpec) -> float:
    """Return the rated power that the memory leaves; what is not known limits nothing."""
    rated = spec.tdp_w or 1e4
    return max(rated / 2, rated - MEMORY_JOULES_PER_BYTE * (spec.bandwidth or 0.0))


def years_after_2020(spec: DeviceSpec) -> float:
    """Return how much newer a device is than one of 2020."""
    return float((spec.year or 2020) - 2020)


def vendors_of(specs: Sequence[DeviceSpec]) -> list[str]:
    """Return who made the devices, in the order of their numbers."""
    return sorted({spec.vendor for spec in specs})


LANES = 64.0
"""Of fp32 in a multiprocessor that can feed all of them at any time."""


def doublings_of_lanes(spec: DeviceSpec) -> float:
    """Return how often a multiprocessor's fp32 lanes double the 64 of GP100, GV100 or GA100.

    More of them share schedulers, registers and the path of integers, so each is used less.
    """
    if not (spec.fp32_flops and spec.cores and spec.clock_hz):
        return 0.0
    lanes = spec.fp32_flops / (2 * spec.cores * spec.clock_hz)
    return min(max(math.log2(lanes / LANES), 0.0), 1.0)
