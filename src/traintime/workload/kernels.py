"""A training step of any model as the kernels it launches, for any batch and input size.

Each quantity of a kernel (FLOP, bytes, sides of a product) is a polynomial in the batch size B and
the relative input size u: affine in B, quadratic in u. u is the squared ratio of image sides or the
ratio of sequence lengths, so the area of a feature map is linear in u and attention quadratic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from traintime.workload.step_blocks import Traces

Phase = Literal["forward", "backward"]
Numerics = Literal["fp32", "amp"]
SizeUnit = Literal["pixels", "tokens"]
Target = Literal["cuda", "cpu"]
"""What a model is captured for: torch launches other kernels on each."""

PRODUCT_KINDS = (
    "matrix product",
    "batched product",
    "convolution",
    "1×1 convolution",
    "grouped convolution",
    "depthwise convolution",
    "attention",
    "recurrent",
)
"""Kinds that a device's matrix engine computes; all others are limited by memory traffic."""

TRAFFIC_KINDS = (
    "batch norm",
    "layer norm",
    "softmax",
    "pooling",
    "elementwise",
    "reduction",
    "copy",
    "lookup",
    "other",
)
KINDS = PRODUCT_KINDS + TRAFFIC_KINDS


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity that grows with batch and input: Σᵢ (fixed[i] + B·per_sample[i]) uⁱ.

    Args:
        fixed: Coefficients of u⁰, u¹, u² that do not depend on the batch.
        per_sample: The same for each sample of the batch.
    """

    fixed: tuple[float, ...] = (0.0,)
    per_sample: tuple[float, ...] = (0.0,)

    def at(self, batch_size: float, size: float = 1.0) -> float:
        """Return the quantity; a fit that dips below zero far from its points counts as zero."""
        value, power = 0.0, 1.0
        for fixed, per_sample in zip(self.fixed, self.per_sample, strict=True):
            value += (fixed + batch_size * per_sample) * power
            power *= size
        return max(value, 0.0)


@dataclass(frozen=True, slots=True)
class Sides:
    """`batch` products of (rows, inner) and (inner, columns), as a matrix engine sees them.

    A convolution of g groups is g products of (N·H·W, Cin/g·k²) and (Cin/g·k², Cout/g).
    """

    batch: Amount
    rows: Amount
    columns: Amount
    inner: Amount


class KernelAmounts(NamedTuple):
    """What one kernel works on at one batch and input size.

    Args:
        flops: 2 per multiply-add.
        num_bytes: Read and written.
        sides: (batch, rows, columns, inner) of a product, each at least 1; ones for other kinds.
    """

    flops: float
    num_bytes: float
    sides: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a training step.

    Args:
        op: What torch calls it, such as "aten.convolution".
        kind: One of `KINDS`.
        phase: "forward" or "backward".
        where: Path of the first module that launches it, such as "layer1.0.conv2".
        count: How many alike there are in a step.
        half: Whether its arithmetic is in 16 bits.
        flops: 2 per multiply-add.
        bytes_read: By the kernel, in the dtypes it reads.
        bytes_written: The same for what it writes.
        sides: Of a product; None for other kinds.
        window: Side of a convolution's kernel; 1 otherwise.
        stride: Of a convolution; 1 otherwise.
        dilation: Of a convolution; 1 otherwise.
        share_left: Of its bytes, where a compiler joins it with its neighbours.
    """

    op: str
    kind: str
    phase: Phase
    where: str
    count: int
    half: bool
    flops: Amount
    bytes_read: Amount
    bytes_written: Amount
    sides: Sides | None = None
    window: int = 1
    stride: int = 1
    dilation: int = 1
    share_left: float = 1.0

    def at(self, batch_size: float, size: float = 1.0) -> KernelAmounts:
        """Return what it works on.

        Args:
            batch_size: B.
            size: u, as in `Amount`.
        """
        moved = self.bytes_read.at(batch_size, size) + self.bytes_written.at(batch_size, size)
        sides = (1.0, 1.0, 1.0, 1.0)
        if one := self.sides:
            sides = (
                max(1.0, one.batch.at(batch_size, size)),
                max(1.0, one.rows.at(batch_size, size)),
                max(1.0, one.columns.at(batch_size, size)),
                max(1.0, one.inner.at(batch_size, size)),
            )
        return KernelAmounts(self.flops.at(batch_size, size), moved, sides)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The parts alike that a network is a chain of, such as the layers of a transformer.

    Args:
        paths: Of the chains, such as "model.layers".
        count: How many blocks there are.
        largest: Parameters of the largest block.
        parameters: Of all blocks.
        kept_bytes: What all of them leave for the backward, what they pass on included.
        passed_bytes: What goes from each to the next, of all together.
        most_bytes: The most that lives while one block runs forward, beyond what did before.
    """

    paths: tuple[str, ...]
    count: int
    largest: int
    parameters: int
    kept_bytes: Amount
    passed_bytes: Amount
    most_bytes: Amount

    def hold(self, kernel: Kernel) -> bool:
        """Say whether a kernel of the forward first runs in one of them."""
        return any(kernel.where.startswith(inside_of(path)) for path in self.paths)


def inside_of(path: str) -> str:
    """Return how the paths of modules inside one begin; all are inside the whole, whose is ""."""
    return f"{path}." if path else ""


@dataclass(frozen=True)
class KernelGraph:
    """A training step's forward and backward, as captured.

    Args:
        model: What was captured, as a user names it.
        source: Where the model came from, with versions.
        numerics: "fp32", or "amp" for autocast with fp32 weights.
        kernels: In no order; identical ones are counted.
        num_calls: Operations that Python dispatches in forward and backward, views included.
        parameters: Number of learned values.
        parameter_tensors: Number of tensors they are in.
        buffers_bytes: State that is not learned.
        kept_bytes: Live at the end of the forward beyond weights and input.
        peak_bytes: The most that is live in forward and backward beyond weights, gradients of
            weights included.
        input_shape: Of one sample, at u = 1.
        size_unit: What u counts; None if the graph holds for its own size alone.
        unknown: Operations whose FLOP no rule counts: their bytes are counted alone.
        blocks: That it is a chain of; None if there are none.
        traces: Its blocks of memory at two batch sizes, at u = 1; None unless it was captured for a
            CPU. They are not stored.
    """

    model: str
    source: str
    numerics: Numerics
    kernels: tuple[Kernel, ...]
    num_calls: int
    parameters: int
    parameter_tensors: int
    buffers_bytes: int
    kept_bytes: Amount
    peak_bytes: Amount
    input_shape: tuple[int, ...]
    size_unit: SizeUnit | None = None
    unknown: tuple[str, ...] = ()
    blocks: Blocks | None = None
    traces: Traces | None = None

    def flops(self, batch_size: float, size: float = 1.0) -> float:
        """FLOP of forward and backward in products, 2 per multiply-add."""
        return sum(
            kernel.count * kernel.flops.at(batch_size, size)
            for kernel in self.kernels
            if kernel.kind in PRODUCT_KINDS
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` understands, kernels as rows of a table."""
        plain = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("kernels", "kept_bytes", "peak_bytes", "blocks", "traces")
        }
        blocks = {"blocks": _blocks_row(self.blocks)} if self.blocks else {}
        return plain | {
            **blocks,
            "kernels": [_kernel_row(kernel) for kernel in self.kernels],
            "kept_bytes": _amount_row(self.kept_bytes),
            "peak_bytes": _amount_row(self.peak_bytes),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> KernelGraph:
        """Return the graph that `to_json` described.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another kind.
        """
        plain = dict(values)
        plain["kernels"] = tuple(_kernel(row) for row in plain["kernels"])
        plain["kept_bytes"] = _amount(plain["kept_bytes"])
        plain["peak_bytes"] = _amount(plain["peak_bytes"])
        plain["input_shape"] = tuple(plain["input_shape"])
        plain["unknown"] = tuple(plain["unknown"])
        plain["blocks"] = _blocks(plain["blocks"]) if "blocks" in plain else None
        return cls(**plain)


def _kernel_row(kernel: Kernel) -> list[Any]:
    sides = kernel.sides
    return [
        kernel.op,
        kernel.kind,
        kernel.phase,
        kernel.where,
        kernel.count,
        int(kernel.half),
        _amount_row(kernel.flops),
        _amount_row(kernel.bytes_read),
        _amount_row(kernel.bytes_written),
        [_amount_row(a) for a in (sides.batch, sides.rows, sides.columns, sides.inner)]
        if sides
        else 0,
        kernel.window,
        kernel.stride,
        *_rest_of_row(kernel),
    ]


def _rest_of_row(kernel: Kernel) -> list[Any]:
    """Return what most kernels have not."""
    if kernel.share_left < 1:
        return [kernel.dilation, _short(kernel.share_left)]
    return [kernel.dilation] if kernel.dilation > 1 else []


def _kernel(row: Sequence[Any]) -> Kernel:
    op, kind, phase, where, count, half, flops, read, written, sides, window, stride, *more = row
    return Kernel(
        op=op,
        kind=kind,
        phase=phase,
        where=where,
        count=count,
        half=bool(half),
        flops=_amount(flops),
        bytes_read=_amount(read),
        bytes_written=_amount(written),
        sides=Sides(*map(_amount, sides)) if sides else None,
        window=window,
        stride=stride,
        dilation=more[0] if more else 1,
        share_left=more[1] if len(more) > 1 else 1.0,
    )


def _blocks_row(blocks: Blocks) -> list[Any]:
    amounts = (blocks.kept_bytes, blocks.passed_bytes, blocks.most_bytes)
    counts = (blocks.count, blocks.largest, blocks.parameters)
    return [list(blocks.paths), *counts, *map(_amount_row, amounts)]


def _blocks(row: Sequence[Any]) -> Blocks:
    paths, count, largest, parameters, kept, passed, most = row
    return Blocks(
        tuple(paths), count, largest, parameters, _amount(kept), _amount(passed), _amount(most)
    )


def _amount_row(amount: Amount) -> list[float] | float:
    """Return a number for a constant, else both rows of coefficients one behind the other."""
    if not any(amount.fixed[1:]) and not any(amount.per_sample):
        return _short(amount.fixed[0])
    return [_short(value) for value in (*amount.fixed, *amount.per_sample)]


def _short(value: float) -> float:
    rounded = float(f"{value:.9g}")
    return int(rounded) if rounded.is_integer() else rounded


def _amount(row: Sequence[float] | float) -> Amount:
    if isinstance(row, int | float):
        return Amount((float(row),), (0.0,))
    half = len(row) // 2
    return Amount(tuple(row[:half]), tuple(row[half:]))


def fit_amount(values: Mapping[tuple[int, float], float]) -> Amount:
    """Return the polynomial through captured values.

    Args:
        values: By (batch size, u): two batch sizes, each at the same one or three values of u.
    """
    low, high = sorted({batch for batch, _ in values})
    sizes = sorted({size for _, size in values})
    slopes = [(values[high, u] - values[low, u]) / (high - low) for u in sizes]
    starts = [values[low, u] - slope * low for u, slope in zip(sizes, slopes, strict=True)]
    return Amount(_polynomial(sizes, starts), _polynomial(sizes, slopes))


def _polynomial(points: Sequence[float], values: Sequence[float]) -> tuple[float, ...]:
    """Return the coefficients of the parabola through three points, or the constant through one."""
    if len(points) == 1:
        return (values[0],)
    (a, b, c), (fa, fb, fc) = points, values
    first = (fb - fa) / (b - a)
    second = ((fc - fb) / (c - b) - first) / (c - a)
    coefficients = (fa - first * a + second * a * b, first - second * (a + b), second)
    largest = max(map(abs, values), default=0.0)
    return tuple(0.0 if abs(v) < 1e-9 * largest else v for v in coefficients)


def merge_alike(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Return kernels with identical ones counted; each keeps the place of its first."""
    groups: dict[tuple[Any, ...], Kernel] = {}
    counts: dict[tuple[Any, ...], int] = {}
    for kernel in kernels:
        row = _kernel_row(kernel)
        key = (*row[:3], *map(str, row[5:]))
        groups.setdefault(key, kernel)
        counts[key] = counts.get(key, 0) + kernel.count
    return tuple(replace(kernel, count=counts[key]) for key, kernel in groups.items())
