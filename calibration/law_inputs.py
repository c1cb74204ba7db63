"""What the law needs of measured points beside its parameters, gathered once as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from points import Points, is_product, on_vector_units
from traintime.forecast.device_step import USUAL_CACHE_BYTES, tile_cores
from traintime.forecast.kernel_classes import (
    by_winograd,
    slow_in_nhwc,
    splits_inner,
    steps_in_turn,
)
from traintime.forecast.kernel_time import WINOGRAD
from traintime.hardware.devices import DeviceSpec, devices, find_device


@dataclass(frozen=True)
class Products:
    """What only kernels with arithmetic have; M of the N kernels.

    Args:
        kernel: (M,) number of each among all kernels.
        point, kernel_class, flops, sides: As `Points` has them.
        in_half: (M,) whether it is computed at the device's rate of 16 bits.
        value_bytes: (M,) of each value.
        cores: (M,) of the device.
        peak: (M,) FLOP/s by its data sheet.
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
    in_half: Tensor
    value_bytes: Tensor
    cores: Tensor
    peak: Tensor
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
    cache_bytes: Tensor
    device: Tensor
    likeness: Tensor
    architecture: Tensor
    software: Tensor
    host: Tensor
    vendor: Tensor
    lanes: Tensor
    contiguous_half_conv: Tensor
    contiguous_op: Tensor
    contiguous_half: Tensor
    fallback: Tensor
    target: Tensor


def prepare(
    points: Points,
    keys: Sequence[str],
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
    in_half = points.half & torch.tensor([s.half_flops is not None for s in points.spec])[at]
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
                in_half,
                4.0 - 2.0 * points.half,
                cores,
                peak,
                on_matrix,
                rounded,
                log_watts - (fed_peak / 1e12).log(),
                year,
                points.misaligned * product * in_half,
                log_caps(points.classes)[points.kernel_class] * ~(in_half | rounded),
                contiguous & in_half,
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
        cache_bytes=torch.tensor([float(s.cache_bytes or USUAL_CACHE_BYTES) for s in points.spec]),
        device=torch.tensor([keys.index(s.key) for s in points.spec]),
        likeness=torch.stack([likeness(find_device(key), keys) for key in keys]),
        architecture=torch.tensor([architectures.index(s.architecture) for s in points.spec]),
        software=torch.tensor([software.index(software_of(row)) for row in points.rows]),
        host=_hosts(points),
        vendor=torch.tensor([vendors.index(s.vendor) for s in points.spec]),
        lanes=torch.tensor([doublings_of_lanes(s) for s in points.spec]),
        contiguous_half_conv=contiguous & points.half & conv,
        contiguous_op=contiguous,
        contiguous_half=contiguous & points.half,
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


def log_caps(classes: Sequence[str]) -> Tensor:
    """Return (C,) logarithms of the largest share of the fp32 peak that a class can reach."""
    return torch.tensor([by_winograd(name) for name in classes]) * math.log(WINOGRAD)


def software_of(row: object) -> str:
    """Return what rows of one framework share: an offset that no forecast has."""
    name = f"{getattr(row, 'source', '') or 'neusight-ops'} {getattr(row, 'software', '')}"
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
    """Return how much newer than 2020 the design of a device is: its transistors are as old."""
    kin = [other.year for other in devices() if _same_design(other, spec) and other.year]
    return float(min(kin, default=spec.year or 2020) - 2020)


def _same_design(one: DeviceSpec, other: DeviceSpec) -> bool:
    return (one.vendor, one.architecture) == (other.vendor, other.architecture)


ALIKE = 0.05
"""Logarithm of a factor in one figure of the data sheet at which devices begin to differ."""


def likeness(spec: DeviceSpec, keys: Sequence[str]) -> Tensor:
    """Return (D,) how much of what each measured device is beyond its architecture another has.

    Devices of one chip, and what is sold under several names, were measured in several tables; what
    sets them apart there is their hosts more than themselves.

    Args:
        spec: Of the device.
        keys: Of those that were measured.
    """
    found = torch.tensor([_likeness(spec, find_device(key)) for key in keys])
    return found / found.sum().clamp_min(1.0)


def _likeness(one: DeviceSpec, other: DeviceSpec) -> float:
    if not _same_design(one, other):
        return 0.0
    pairs = zip(_figures(one), _figures(other), strict=True)
    return math.exp(-sum(math.log(a / b) ** 2 for a, b in pairs) / (2 * ALIKE**2))


def _figures(spec: DeviceSpec) -> tuple[float, ...]:
    fp32 = spec.fp32_flops or spec.half_flops or 1.0
    half, cores = spec.half_flops or fp32, tile_cores(spec)
    return fp32, half, spec.bandwidth or 1.0, cores, spec.tdp_w or 1.0


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
