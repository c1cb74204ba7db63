"""Capture the kernels of a training step of any torch module, on a machine without its device.

Parameters and inputs become fake tensors, which have shapes and no values, so nothing is computed
and no memory is used. Below autograd every operation that torch dispatches in forward and backward
is written down with its FLOP and the bytes it reads and writes. Mixed precision is captured by
running autocast itself, with CUDA's list of operations that stay in fp32.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from traintime.errors import InputError, TraintimeError
from traintime.workload.as_on_cuda import AsOnCuda, not_packed
from traintime.workload.kernels import (
    PRODUCT_KINDS,
    Amount,
    Kernel,
    KernelGraph,
    Numerics,
    Phase,
    Sides,
    SizeUnit,
    fit_amount,
    merge_alike,
)
from traintime.workload.op_rules import Counted, count_op, is_view

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]
Loss = Callable[[Any], Tensor]
Target = Literal["cuda", "cpu"]
BATCHES = (16, 32)


@dataclass(frozen=True)
class CapturedStep:
    """One forward and backward at one batch and input size.

    Args:
        kernels: In the order they were dispatched.
        num_calls: Dispatched operations, views included.
        kept_bytes: Live after the forward, beyond parameters, buffers and inputs.
        peak_bytes: The most that was live, counted the same way.
        unknown: Operations whose FLOP no rule counts.
    """

    kernels: tuple[tuple[Counted, Phase, str], ...]
    num_calls: int
    kept_bytes: int
    peak_bytes: int
    unknown: tuple[str, ...]


class _Recorder(TorchDispatchMode):
    """Writes down every operation that reaches the device, and what stays alive."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[Counted, Phase, str]] = []
        self.unknown: dict[str, None] = {}
        self.num_calls = 0
        self.phase: Phase = "forward"
        self.where: list[str] = []
        self.memory = _LiveBytes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.namespace == "prim":  # asks for a property, computes nothing
            return result
        self.num_calls += 1
        self.memory.see(result)
        if not is_view(func):
            counted = count_op(func, args, kwargs, result)
            where = self.where[-1] if self.where else ""
            self.kernels.extend((one, self.phase, where) for one in counted.kernels)
            if counted.unknown:
                self.unknown[str(func)] = None
        return result


class _LiveBytes:
    """Bytes of the storages that were made since, and are still referred to."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self._seen: dict[int, Any] = {}

    def ignore(self, values: Any) -> None:
        """Do not count what was there before, such as weights."""
        for tensor in _tensors(values):
            self._watch(tensor, 0)

    def see(self, values: Any) -> None:
        """Count the storages of a result that are new."""
        for tensor in _tensors(values):
            self._watch(tensor, _rounded(tensor.untyped_storage().nbytes()))
        self.peak = max(self.peak, self.live)

    def _watch(self, tensor: Tensor, num_bytes: int) -> None:
        storage = tensor.untyped_storage()
        key = cast("int", storage._cdata)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if key in self._seen:
            return
        self.live += num_bytes

        def forget(_: Any) -> None:
            self.live -= num_bytes
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, forget)


BLOCK_BYTES = 512
"""Torch's allocators hand out multiples of this."""


def _rounded(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor))


def default_loss(output: Any) -> Tensor:
    """Return a scalar to differentiate: a model's own loss, cross-entropy of scores, or a sum."""
    loss = getattr(output, "loss", None)
    if isinstance(loss, Tensor):
        return loss
    scores = [t for t in _tensors(output) if t.is_floating_point() and t.requires_grad]
    if not scores:
        raise InputError(
            "The model's output holds no number that depends on its weights, so there is nothing "
            "to train. Give a loss: traintime.forecast(module, batch, loss=...)"
        )
    first = scores[0]
    if len(scores) == 1 and first.ndim == 2 and first.shape[1] > 1:
        labels = torch.zeros(first.shape[0], dtype=torch.long, device=first.device)
        return nn.functional.cross_entropy(first, labels)
    return torch.stack([score.float().sum() for score in scores]).sum()


def capture_step(
    module: nn.Module,
    inputs: Inputs,
    numerics: Numerics = "fp32",
    loss: Loss = default_loss,
    *,
    target: Target = "cuda",
    real: bool = False,
) -> CapturedStep:
    """Run one forward and backward and write down what it launches.

    Args:
        module: Trained as it is, or put into training mode meanwhile; it is left as it was.
        inputs: Positional and named arguments of the forward; shapes alone matter.
        numerics: "fp32" or "amp".
        loss: Makes a scalar of the output.
        target: Launch what torch launches on "cuda", or on the "cpu".
        real: Compute on the CPU indeed: for control flow that depends on values.

    Raises:
        NeedsValuesError: Shapes alone do not do; `real` might.
        InputError: A layer refused what it was given.
    """
    recorder = _Recorder()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_refusals(module, recorder))
        stack.enter_context(_silent())
        stack.enter_context(_training(module))
        stack.enter_context(_paths(module, recorder.where))
        if real:
            stack.enter_context(_unchanged(module))
        else:
            stack.enter_context(not_packed())
            mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            recorder.memory.ignore(stack.enter_context(_faked(module, mode)))
            inputs = cast("Inputs", tree_map(lambda v: _fake(v, mode), inputs))
        recorder.memory.ignore((list(module.parameters()), list(module.buffers()), inputs))
        stack.enter_context(recorder)
        if target == "cuda":
            stack.enter_context(AsOnCuda(computed=real))
        args, kwargs = inputs
        with torch.autocast("cpu", torch.bfloat16, enabled=numerics == "amp"):
            scalar = loss(module(*args, **kwargs))
        kept = recorder.memory.live
        recorder.phase = "backward"
        recorder.where.clear()
        torch.autograd.backward(scalar)
        peak = recorder.memory.peak
    return CapturedStep(
        tuple(recorder.kernels), recorder.num_calls, kept, peak, tuple(recorder.unknown)
    )


class NeedsValuesError(InputError):
    """A model cannot be captured by shapes alone, yet might be by computing."""


NEEDS_VALUES = (
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "GuardOnDataDependentSymNode",
    "UnsupportedFakeTensorException",
    "UnsupportedOperatorException",
)
NEEDS_MEMORY = (
    "data pointer",
    "numpy()",
    "tolist()",
    "fake impl",
    "no fake",
    "doesn't have storage",
)
"""What torch says where values of a fake tensor are asked for in another way."""


@contextlib.contextmanager
def _refusals(module: nn.Module, recorder: _Recorder) -> Generator[None]:
    """Say which layer stopped a step, and what it said."""
    try:
        yield
    except TraintimeError:
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        kind = type(error).__name__
        where = _place(module, recorder, error)
        if kind in NEEDS_VALUES or any(words in said for words in NEEDS_MEMORY):
            raise NeedsValuesError(
                f"The model looks at values of tensors in {where} ({kind}: {said}), or uses an "
                "operation that torch cannot follow without values. For an operation of your own "
                "register a fake kernel: torch.library.register_fake"
            ) from error
        raise InputError(
            f"The model stopped in {where}: {said} ({kind}). If the input has another shape than "
            "the model expects, type for example input=3x224x224 or input='512 tokens'"
        ) from error


FAILED_AT = "_traintime_layer"
"""Name under which an error carries the path of the innermost layer that it left."""


def _place(module: nn.Module, recorder: _Recorder, error: Exception) -> str:
    if recorder.phase == "backward":
        return "its backward"
    path = cast("str", vars(error).get(FAILED_AT, ""))
    kind = type(module.get_submodule(path)).__name__
    return f"its layer '{path}' ({kind})" if path else f"its forward ({kind})"


@contextlib.contextmanager
def _silent() -> Generator[None]:
    """Keep still what torch says of the CPU, and its traceback of what becomes one sentence."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


@contextlib.contextmanager
def _training(module: nn.Module) -> Generator[None]:
    """Put a module into training mode, unless it is and a part of it is frozen."""
    modes = {part: part.training for part in module.modules()}
    if not module.training:
        module.train()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def _paths(module: nn.Module, where: list[str]) -> Generator[None]:
    """Keep the path of the module that is running on top of a stack, and with errors."""
    hooks: list[Any] = []

    def leave(path: str) -> None:
        where.pop()
        error = sys.exc_info()[1]
        if error:
            vars(error).setdefault(FAILED_AT, path)

    for path, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(lambda *_, path=path: where.append(path)))
        hooks.append(
            part.register_forward_hook(lambda *_, path=path: leave(path), always_call=True)
        )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _unchanged(module: nn.Module) -> Generator[None]:
    """Put gradients, buffers and the random state back after a step that computes."""
    gradients = [parameter.grad for parameter in module.parameters()]
    buffers = [buffer.clone() for buffer in module.buffers()]
    for parameter in module.parameters():
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            parameter.grad = gradient
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.data.copy_(before)


@contextlib.contextmanager
def _faked(module: nn.Module, mode: FakeTensorMode) -> Generator[list[Tensor]]:
    """Put fake tensors in place of all of a module's tensors, and the real ones back.

    Tensors are in the tables of parameters and buffers, in plain attributes, and in lists such as
    the weights of a recurrent network.
    """
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = []
    fakes: dict[int, Tensor] = {}

    def fake(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in fakes:
            made = _fake(value, mode)
            is_parameter = isinstance(value, nn.Parameter)
            fakes[id(value)] = nn.Parameter(made, value.requires_grad) if is_parameter else made
        return fakes[id(value)]

    for part in module.modules():
        for table in (vars(part)["_parameters"], vars(part)["_buffers"], vars(part)):
            tensors = {k: v for k, v in table.items() if _holds_tensors(v)}
            kept.append((table, tensors))
            table.update({k: tree_map(fake, v) for k, v in tensors.items()})
    try:
        yield list(fakes.values())
    finally:
        for table, tensors in kept:
            table.update(tensors)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(one, Tensor) for one in cast("Sequence[Any]", value))
    return isinstance(value, Tensor)


def _fake(value: Any, mode: FakeTensorMode) -> Any:
    if not isinstance(value, Tensor):
        return value
    with mode:
        made = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cpu")
    return made.requires_grad_() if value.requires_grad and value.is_leaf else made


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
    for size in sizes or (subject.size,):
        module = subject.module
        if subject.at_size and size != subject.size:
            module = subject.at_size(size)
        for batch in batches:
            inputs = subject.inputs(batch, size)
            step = capture_step(module, inputs, numerics, subject.loss, target=target, real=real)
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
        buffers_bytes=sum(buffer.nbytes for buffer in subject.module.buffers()),
        kept_bytes=fit_amount({key: float(step.kept_bytes) for key, step in steps.items()}),
        peak_bytes=fit_amount({key: float(step.peak_bytes) for key, step in steps.items()}),
        input_shape=subject.input_shape,
        size_unit=subject.size_unit if sizes else None,
        unknown=first.unknown,
    )


def _relative(subject: Subject, size: int) -> float:
    if not subject.size:
        return 1.0
    ratio = size / subject.size
    return ratio * ratio if subject.size_unit == "pixels" else ratio


def _kernels(steps: Mapping[tuple[int, float], CapturedStep]) -> Iterator[Kernel]:
    keys = list(steps)
    for row in zip(*(step.kernels for step in steps.values()), strict=True):
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
        )


def graph_of(
    subject: Subject, numerics: Numerics = "fp32", sizes: Sequence[int] = ()
) -> KernelGraph:
    """Return what `capture` returns, computing a tiny batch where shapes alone do not do.

    Args:
        subject: The model; its graph's source says if it was computed.
        numerics: "fp32" or "amp".
        sizes: Three input sizes to capture at; none for the standard size alone.

    Raises:
        InputError: It can be captured in neither way.
    """
    try:
        return capture(subject, numerics, sizes)
    except NeedsValuesError as error:
        if any(parameter.is_meta for parameter in subject.module.parameters()):
            raise
        try:
            graph = capture(subject, numerics, sizes, real=True)
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


def with_name(graph: KernelGraph, name: str) -> KernelGraph:
    """Return a graph under another name."""
    return replace(graph, model=name)
