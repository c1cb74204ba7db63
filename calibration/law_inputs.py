"""What the law needs of measured points beside its parameters, gathered once as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from points import Points, is_product, on_vector_units
from traintime.forecast.kernel_classes import ALIGNED, lies_along, slow_in_nhwc, splits_inner
from traintime.hardware.devices import DeviceSpec


@dataclass(frozen=True)
class Static:
    """What of the points never changes while fitting, gathered once."""

    points: Points
    peak: Tensor
    bandwidth: Tensor
    cores: Tensor
    device: Tensor
    architecture: Tensor
    software: Tensor
    host: Tensor
    watts: Tensor
    year: Tensor
    vendor: Tensor
    lanes: Tensor
    on_matrix: Tensor
    fed_peak: Tensor
    misaligned: Tensor
    log_cap: Tensor
    contiguous_half_conv: Tensor
    contiguous_op: Tensor
    fallback: Tensor
    splits: Tensor
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
    on_matrix = (peak > ON_MATRIX_FROM * products_peak[at]) & ~vector_class
    by_layout = points.of_classes(depends_on_layout)[points.kernel_class]
    contiguous = points.contiguous[at] & by_layout
    return Static(
        points=points,
        peak=peak,
        bandwidth=torch.tensor([s.bandwidth or 1.0 for s in points.spec]),
        cores=torch.tensor([float(s.cores or 64) for s in points.spec]),
        device=torch.tensor([devices.index(s.key) for s in points.spec]),
        architecture=torch.tensor([architectures.index(s.architecture) for s in points.spec]),
        software=torch.tensor([software.index(software_of(row)) for row in points.rows]),
        host=_hosts(points),
        watts=torch.tensor([math.log(watts_of(s)) for s in points.spec]),
        year=torch.tensor([years_after_2020(s) for s in points.spec]),
        vendor=torch.tensor([vendors.index(s.vendor) for s in points.spec]),
        lanes=torch.tensor([doublings_of_lanes(s) for s in points.spec]),
        on_matrix=on_matrix,
        fed_peak=torch.where(on_matrix, peak, torch.minimum(peak, fp32_peak[at])),
        misaligned=_misaligned(points) & product & points.half,
        log_cap=log_caps(points.classes)[points.kernel_class] * ~points.half,
        contiguous_half_conv=contiguous & points.half & conv,
        contiguous_op=contiguous,
        fallback=points.images[at] & ~points.contiguous[at] & _slow_in_nhwc(points),
        splits=~(points.contiguous[at] & ~_splits(points)),
        target=torch.tensor([math.log(row.seconds) for row in points.rows]),
    )


def _hosts(points: Points) -> Tensor:
    """Return (P,) numbers of the machines that points were measured on: one of a table's device."""
    rows = dict(zip(reversed(points.row_point.tolist()), reversed(points.rows), strict=True))
    names = [(getattr(rows[n], "source", ""), rows[n].device) for n in range(len(points.spec))]
    numbers = {name: n for n, name in enumerate(sorted(set(names)))}
    return torch.tensor([numbers[name] for name in names])


def _misaligned(points: Points) -> Tensor:
    """Return (N,) whether values of each kernel lie along sides that are no multiple of 8."""
    _, rows, columns, inner = points.sides.unbind(1)
    along = [lies_along(name) for name in points.classes]
    by_rows, by_inner = (
        torch.tensor([side in sides for sides in along])[points.kernel_class]
        for side in ("rows", "inner")
    )
    shortest = torch.minimum(rows.where(by_rows, NEVER), inner.where(by_inner, NEVER))
    along_columns, along_shortest = (
        (side > ALIGNED) & (side % ALIGNED != 0) for side in (columns, shortest)
    )
    return along_columns | along_shortest


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


def depends_on_layout(kind: str) -> bool:
    """Say whether a kind of kernel runs otherwise on NCHW than on NHWC."""
    return "convolution" in kind or kind in ("batch norm", "pooling", "copy")


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


def watts_of(spec: DeviceSpec) -> float:
    """Return the rated power; what is not known limits nothing."""
    return spec.tdp_w or 1e4


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
