"""Measured rows and captured graphs as the tensors that a fit works on.

A point is one (model, size, batch, precision, memory format, phases) on one device; rows that
repeat it share it. Operations of all points lie one behind the other, with their point's number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from graphs import key_of, load_graph
from measured_rows import OpRow, StepRow
from traintime.forecast.device_step import FORWARD_CALLS, ON_VECTOR_UNITS
from traintime.forecast.kernel_classes import class_name, misalignment
from traintime.hardware.devices import DeviceSpec
from traintime.workload.kernels import PRODUCT_KINDS, Amount, Kernel, KernelGraph, Sides

Key = tuple[str, int, str]


@dataclass(frozen=True)
class Points:
    """What a fit sees; N operations of P points, R rows.

    Args:
        classes: Names "kind/role" in the order of their numbers.
        point: (N,) of each operation.
        kernel_class: (N,) number of its class.
        count, flops, num_bytes: (N,).
        sides: (N, 4) batch, rows, columns, inner.
        half: (N,) whether it computes in 16 bits.
        misaligned: (N,) how far its values would be from being loaded several at a time there.
        spec: (P,) devices.
        precision: (P,) as the rows name it.
        contiguous: (P,) whether images are NCHW.
        images: (P,) whether there are images.
        calls: (P,) operations dispatched.
        tensors: (P,) parameter tensors updated, 0 without an update.
        updated: (P,) parameters updated.
        copied: (P,) bytes of input that are copied to the device within the time.
        rows: R measured steps or operations.
        row_point: (R,).
    """

    classes: tuple[str, ...]
    point: Tensor
    kernel_class: Tensor
    count: Tensor
    flops: Tensor
    num_bytes: Tensor
    sides: Tensor
    half: Tensor
    misaligned: Tensor
    spec: tuple[DeviceSpec, ...]
    precision: tuple[str, ...]
    contiguous: Tensor
    images: Tensor
    calls: Tensor
    tensors: Tensor
    updated: Tensor
    copied: Tensor
    rows: tuple[StepRow | OpRow, ...]
    row_point: Tensor

    def of_classes(self, test: Callable[[str], bool]) -> Tensor:
        """Return (C,) which classes pass a test of their kind."""
        return torch.tensor([test(name.split("/")[0]) for name in self.classes])


class _Facts(NamedTuple):
    """What `Points` has of each point."""

    spec: DeviceSpec
    precision: str
    contiguous: bool
    images: bool
    calls: float = 0.0
    tensors: float = 0.0
    updated: float = 0.0
    copied: float = 0.0


def make_points(
    rows: Sequence[StepRow | OpRow],
    spec_of: Callable[[str], DeviceSpec],
    classes: Sequence[str] = (),
    graph_of: Callable[[Key], KernelGraph | None] = load_graph,
) -> Points:
    """Return the points of all rows whose graph could be captured.

    Args:
        rows: Measurements.
        spec_of: Looks a device up.
        classes: Names that have numbers already.
        graph_of: Looks a graph up.
    """
    numbers = {name: n for n, name in enumerate(classes)}
    graphs: dict[Key, KernelGraph | None] = {}
    points: dict[tuple[object, ...], int] = {}
    ops: list[tuple[float, ...]] = []
    facts: list[_Facts] = []
    kept: list[StepRow | OpRow] = []
    row_point: list[int] = []
    for row in rows:
        if isinstance(row, OpRow):
            row_point.append(len(facts))
            ops.append(_single(row, len(facts), numbers))
            contiguous = row.memory_format == "contiguous"
            images = bool(row.memory_format)
            facts.append(_Facts(spec_of(row.device), row.precision, contiguous, images))
            kept.append(row)
            continue
        graph_key = key_of(row)
        if graph_key not in graphs:
            graphs[graph_key] = graph_of(graph_key)
        graph = graphs[graph_key]
        if graph is None or not _same_model(graph, row):
            continue
        contiguous = row.memory_format != "channels_last" and len(graph.input_shape) == 3
        key = (graph_key, row.batch_size, row.device, row.precision, contiguous, row.phases)
        if key not in points:
            points[key] = len(facts)
            ops += _operations(graph, row, len(facts), numbers)
            train = row.phases == "train"
            share = SHARES_OF_CALLS.get(row.phases, 1.0)
            facts.append(
                _Facts(
                    spec_of(row.device),
                    row.precision,
                    contiguous,
                    len(graph.input_shape) == 3,
                    graph.num_calls * share,
                    graph.parameter_tensors * train * UPDATE_CALLS[row.optimizer],
                    graph.parameters * train * UPDATE_TRAFFIC[row.optimizer],
                    _copied(graph, row),
                )
            )
        row_point.append(points[key])
        kept.append(row)
    table = torch.tensor(ops, dtype=torch.float64)
    specs, precisions, contiguous_of, images, calls, tensors, updated, copied = zip(
        *facts, strict=True
    )
    return Points(
        classes=tuple(numbers),
        point=table[:, 0].long(),
        kernel_class=table[:, 1].long(),
        count=table[:, 2].float(),
        half=table[:, 3].bool(),
        flops=table[:, 4].float(),
        num_bytes=table[:, 5].float(),
        sides=table[:, 6:10].float(),
        misaligned=table[:, 10].float(),
        spec=specs,
        precision=precisions,
        contiguous=torch.tensor(contiguous_of),
        images=torch.tensor(images),
        calls=torch.tensor(calls),
        tensors=torch.tensor(tensors),
        updated=torch.tensor(updated),
        copied=torch.tensor(copied),
        rows=tuple(kept),
        row_point=torch.tensor(row_point),
    )


def _same_model(graph: KernelGraph, row: StepRow) -> bool:
    """Say whether a name still means the model that was measured, by its number of parameters."""
    return not row.parameters or abs(graph.parameters / row.parameters - 1) < SAME_PARAMETERS


SAME_PARAMETERS = 0.02
SHARES_OF_CALLS = {"forward": FORWARD_CALLS, "backward": 1 - FORWARD_CALLS}
"""Of the operations that a step dispatches."""


COPIES_INPUT = ("ryujaehun",)
"""Tables whose time holds the copy of the batch from host memory."""


def _copied(graph: KernelGraph, row: StepRow) -> float:
    value_bytes = 2.0 if row.precision == "half" else 4.0
    values = row.batch_size * math.prod(graph.input_shape)
    return value_bytes * values if row.source in COPIES_INPUT else 0.0


UPDATE_CALLS = {"sgd": 1.0, "adam": 10 / 3}
"""Operations of a parameter tensor's update, relative to SGD with momentum: mul, add, add."""
UPDATE_TRAFFIC = {"sgd": 1.0, "adam": 7 / 5}
"""Values moved by an update, relative to SGD with momentum: it reads p, g, m and writes p, m."""


def _number(numbers: dict[str, int], name: str) -> int:
    return numbers.setdefault(name, len(numbers))


def _single(row: OpRow, point: int, numbers: dict[str, int]) -> tuple[float, ...]:
    kernel = _as_captured(row)
    number = _number(numbers, class_name(kernel))
    sides = row.sides or (1.0, 1.0, 1.0, 1.0)
    off = misalignment(kernel, *sides[1:])
    return (point, number, 1.0, kernel.half, row.flops, row.num_bytes, *sides, off)


IN_16_BITS = ("amp", "half", "fp16", "bf16")


def _as_captured(row: OpRow) -> Kernel:
    """Return the kernel that a capture sees in an operation.

    It tells a convolution's weight gradient from its input's, not so a matrix product's.
    """
    of_weight = row.role == "weight" and "convolution" in row.kind
    return Kernel(
        op=f"{row.kind}.weight" if of_weight else row.kind,
        kind=row.kind,
        phase="forward" if row.role == "forward" else "backward",
        where="",
        count=1,
        half=row.precision in IN_16_BITS,
        flops=Amount((row.flops,)),
        bytes_read=Amount((row.num_bytes,)),
        bytes_written=Amount(),
        sides=Sides(*(Amount((side,)) for side in row.sides)) if row.sides else None,
        window=row.window,
        stride=row.stride,
    )


def _operations(
    graph: KernelGraph, row: StepRow, point: int, numbers: dict[str, int]
) -> list[tuple[float, ...]]:
    batch, everything_half = row.batch_size, row.precision == "half"
    found: list[tuple[float, ...]] = []
    for kernel in graph.kernels:
        if row.phases in SHARES_OF_CALLS and kernel.phase != row.phases:
            continue
        number = _number(numbers, class_name(kernel))
        half = kernel.half or everything_half
        flops, moved, sides = kernel.at(batch)
        moved *= 0.5 if everything_half else 1.0
        off = misalignment(kernel, *sides[1:])
        found.append((point, number, kernel.count, half, flops, moved, *sides, off))
    return _with_alike_joined(found)


def _with_alike_joined(ops: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Return fewer rows: kernels without arithmetic that move nearly as much count as one row.

    Their total traffic stays as it is. It makes the fit twice as fast.
    """
    joined: list[tuple[float, ...]] = []
    groups: dict[tuple[float, ...], list[tuple[float, ...]]] = {}
    for op in ops:
        _, number, _, half, flops, moved, *_ = op
        if flops or not moved:
            joined.append(op)
        else:
            groups.setdefault((number, half, round(4 * math.log2(moved))), []).append(op)
    for alike in groups.values():
        count = sum(op[2] for op in alike)
        moved = sum(op[2] * op[5] for op in alike) / count
        joined.append((*alike[0][:2], count, *alike[0][3:5], moved, *alike[0][6:]))
    return joined


def is_product(kind: str) -> bool:
    """Say whether a kind of kernel is limited by arithmetic at all."""
    return kind in PRODUCT_KINDS


def on_vector_units(kind: str) -> bool:
    """Say whether no matrix engine computes it."""
    return kind in ON_VECTOR_UNITS
