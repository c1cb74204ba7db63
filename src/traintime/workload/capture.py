"""Capture the kernels of a training step as a graph that holds for any batch and input size.

A step is captured at two batch sizes, and at three input sizes where they may change; through the
amounts of each kernel goes a polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from traintime.errors import InputError
from traintime.workload.captured_step import (
    CapturedStep,
    Inputs,
    Loss,
    capture_step,
    default_loss,
)
from traintime.workload.chained_blocks import blocks_of
from traintime.workload.kernels import (
    PRODUCT_KINDS,
    Amount,
    Kernel,
    KernelGraph,
    Numerics,
    Sides,
    SizeUnit,
    Target,
    fit_amount,
    merge_alike,
)
from traintime.workload.module_states import HALF_TYPES
from traintime.workload.op_rules import Counted
from traintime.workload.refusals import NeedsValuesError
from traintime.workload.step_blocks import Traces

BATCHES = (16, 32)
"""Batch sizes to capture at."""


@dataclass(frozen=True)
class Subject:
    """A model to capture.

    Args:
        name: As a user calls it.
        source: Where it comes from, with versions.
        module: In training mode.
        inputs: Makes a batch: (batch size, input size) to arguments of the forward.
        input_shape: Of one sample at the standard input size.
        size: Standard side of images or length of sequences; 0 if there is none.
        size_unit: What the size is.
        loss: Makes a scalar of the output.
        at_size: Makes the module for another input size, where it has to be built for it.
        half: Whether its weights are kept in 16 bits; it is captured as if they were fp32.
    """

    name: str
    source: str
    module: nn.Module
    inputs: Callable[[int, int], Inputs]
    input_shape: tuple[int, ...]
    size: int = 0
    size_unit: SizeUnit | None = None
    loss: Loss = default_loss
    at_size: Callable[[int], nn.Module] | None = None
    half: bool = False


def capture(
    subject: Subject,
    numerics: Numerics = "fp32",
    sizes: Sequence[int] = (),
    *,
    target: Target = "cuda",
    real: bool = False,
) -> KernelGraph:
    """Return the step of a model for any batch size, and for any input size if sizes are given.

    Args:
        subject: The model.
        numerics: "fp32" or "amp".
        sizes: Three input sizes to capture at; none for the standard size alone.
        target: Launch what torch launches on "cuda", or on the "cpu".
        real: Compute with tiny batches instead of faking.

    Raises:
        InputError: The model does different things at different sizes.
    """
    steps: dict[tuple[int, float], CapturedStep] = {}
    batches = (2, 4) if real else BATCHES
    captured = sizes or (subject.size,)
    for size in captured:
        module = subject.module
        if subject.at_size and size != subject.size:
            module = subject.at_size(size)
        for batch in batches:
            inputs = subject.inputs(batch, size)
            step = capture_step(
                module,
                inputs,
                numerics,
                subject.loss,
                target=target,
                real=real,
                joins=(batch, size) == (max(batches), max(captured)),
            )
            steps[batch, _relative(subject, size)] = step
    first = next(iter(steps.values()))
    names = [(counted.op, phase) for counted, phase, _ in first.kernels]
    for step in steps.values():
        if [(counted.op, phase) for counted, phase, _ in step.kernels] != names:
            raise InputError(
                f"{subject.name} computes other operations at another batch or input size, so one "
                "capture does not hold for all. Give the size you want: input=..."
            )
    parameters = list(subject.module.parameters())
    return KernelGraph(
        model=subject.name,
        source=subject.source,
        numerics=numerics,
        kernels=merge_alike(_kernels(steps)),
        num_calls=first.num_calls,
        parameters=sum(parameter.numel() for parameter in parameters),
        parameter_tensors=len(parameters),
        buffers_bytes=sum(map(_bytes_as_faked, subject.module.buffers())),
        kept_bytes=fit_amount({key: float(step.kept_data_bytes) for key, step in steps.items()}),
        peak_bytes=_peak_bytes(steps),
        input_shape=subject.input_shape,
        size_unit=subject.size_unit if sizes else None,
        unknown=first.unknown,
        blocks=blocks_of(subject.module, {key: step.blocks for key, step in steps.items()}),
        traces=_traces(steps),
    )


def _bytes_as_faked(buffer: Tensor) -> int:
    return buffer.numel() * 4 if buffer.dtype in HALF_TYPES else buffer.nbytes


def _peak_bytes(steps: Mapping[tuple[int, float], CapturedStep]) -> Amount:
    """Return the bytes of the operation that most are live at in the largest step.

    What is live at one operation is a polynomial. The peak is the largest of them all: another
    operation's at another size, so a parabola through peaks themselves goes wrong beyond them.
    """
    largest = steps[max(steps)].data_bytes
    at = largest.index(max(largest))
    if any(len(step.data_bytes) != len(largest) for step in steps.values()):
        return fit_amount({key: float(max(step.data_bytes)) for key, step in steps.items()})
    return fit_amount({key: float(step.data_bytes[at]) for key, step in steps.items()})


def _traces(steps: Mapping[tuple[int, float], CapturedStep]) -> Traces | None:
    """Return the blocks at both batch sizes, if they were told apart at one input size."""
    found = [(batch, step.trace) for (batch, _), step in steps.items() if step.trace]
    return (found[0], found[1]) if len(found) == len(BATCHES) else None


def _relative(subject: Subject, size: int) -> float:
    if not subject.size:
        return 1.0
    ratio = size / subject.size
    return ratio * ratio if subject.size_unit == "pixels" else ratio


def _kernels(steps: Mapping[tuple[int, float], CapturedStep]) -> Iterator[Kernel]:
    keys = list(steps)
    shares = steps[max(steps)].shares_left
    for *row, left in zip(*(step.kernels for step in steps.values()), shares, strict=True):
        (first, phase, where), counted = row[0], [one for one, _, _ in row]

        def amount(read: Callable[[Counted], float], counted: list[Counted] = counted) -> Amount:
            return fit_amount({key: read(one) for key, one in zip(keys, counted, strict=True)})

        sides = None
        if first.kind in PRODUCT_KINDS and first.sides:
            sides = Sides(*(amount(lambda one, i=i: one.sides[i]) for i in range(4)))
        yield Kernel(
            op=first.op,
            kind=first.kind,
            phase=phase,
            where=where,
            count=1,
            half=first.half,
            flops=amount(lambda one: one.flops),
            bytes_read=amount(lambda one: one.bytes_read),
            bytes_written=amount(lambda one: one.bytes_written),
            sides=sides,
            window=first.window,
            stride=first.stride,
            dilation=first.dilation,
            share_left=round(left, 2),
        )


def graph_of(
    subject: Subject,
    numerics: Numerics = "fp32",
    sizes: Sequence[int] = (),
    *,
    target: Target = "cuda",
) -> KernelGraph:
    """Return what `capture` returns, computing a tiny batch where shapes alone do not do.

    Args:
        subject: The model; its graph's source says if it was computed.
        numerics: "fp32" or "amp".
        sizes: Three input sizes to capture at; none for the standard size alone.
        target: Launch what torch launches on "cuda", or on the "cpu".

    Raises:
        InputError: It can be captured in neither way.
    """
    try:
        return capture(subject, numerics, sizes, target=target)
    except NeedsValuesError as error:
        if any(parameter.is_meta for parameter in subject.module.parameters()):
            raise
        if subject.half:
            raise InputError(
                f"{error}. To have a tiny batch computed instead, give it in fp32 (module.float()) "
                "and type precision=half"
            ) from error
        try:
            graph = capture(subject, numerics, sizes, target=target, real=True)
        except InputError as second:
            raise InputError(f"{error}. Computing a tiny batch failed too: {second}") from second
    how = "computed with batches of 2 and 4, as shapes alone do not say what it does"
    return replace(graph, source=f"{graph.source}; {how}")


def three_sizes(subject: Subject) -> tuple[int, ...]:
    """Return sizes that fix a graph's polynomials: sides ±64, or up to the standard length.

    Positions that are learned end at the standard length.
    """
    match subject.size_unit:
        case "pixels":
            return (subject.size - 64, subject.size, subject.size + 64)
        case "tokens":
            return (subject.size // 4, subject.size // 2, subject.size)
        case _:
            return ()
