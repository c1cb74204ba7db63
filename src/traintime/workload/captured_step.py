"""One forward and backward of any torch module, written down without its device.

Parameters and inputs become fake tensors, which have shapes and no values, so nothing is computed
and no memory is used. Below autograd every operation that torch dispatches in forward and backward
is written down with its FLOP and the bytes it reads and writes. Mixed precision is captured by
running autocast itself, with CUDA's list of operations that stay in fp32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from traintime.errors import InputError, TraintimeError
from traintime.workload.as_on_cuda import AsOnCuda, not_packed
from traintime.workload.kernels import Numerics, Phase, Target
from traintime.workload.live_bytes import LiveBytes, tensors_of
from traintime.workload.module_states import (
    FAILED_AT,
    fake,
    faked,
    paths,
    silent,
    training,
    unchanged,
)
from traintime.workload.op_rules import Counted, count_op, is_view
from traintime.workload.step_blocks import Trace
from traintime.workload.watched_blocks import WatchedBlocks, with_both_biases

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]
Loss = Callable[[Any], Tensor]


@dataclass(frozen=True)
class CapturedStep:
    """One forward and backward at one batch and input size.

    Args:
        kernels: In the order they were dispatched.
        num_calls: Dispatched operations, views included.
        kept_bytes: Live after the forward, beyond parameters, buffers and inputs.
        peak_bytes: The most that was live, counted the same way.
        unknown: Operations whose FLOP no rule counts.
        trace: Its blocks of memory, if it is a CPU's.
    """

    kernels: tuple[tuple[Counted, Phase, str], ...]
    num_calls: int
    kept_bytes: int
    peak_bytes: int
    unknown: tuple[str, ...]
    trace: Trace | None = None


class _Recorder(TorchDispatchMode):
    """Writes down every operation that reaches the device, and what stays alive.

    Args:
        target: Blocks of memory are told apart for a "cpu".
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.kernels: list[tuple[Counted, Phase, str]] = []
        self.unknown: dict[str, None] = {}
        self.num_calls = 0
        self.phase: Phase = "forward"
        self.where: list[str] = []
        self.memory = LiveBytes()
        self.blocks = WatchedBlocks(self.memory) if target == "cpu" else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = with_both_biases(func, func(*args, **kwargs))
        if func.namespace == "prim":  # asks for a property, computes nothing
            return result
        self.num_calls += 1
        if self.blocks:
            self.blocks.see(func, args, result, self.phase)
        else:
            self.memory.see(result)
        if not is_view(func):
            counted = count_op(func, args, kwargs, result)
            where = self.where[-1] if self.where else ""
            self.kernels.extend((one, self.phase, where) for one in counted.kernels)
            if counted.unknown:
                self.unknown[str(func)] = None
        return result

    def end_forward(self) -> int:
        """Go over to the backward; return the bytes that are kept for it."""
        self.phase = "backward"
        self.where.clear()
        if self.blocks:
            self.blocks.end_forward()
        return self.memory.live


def default_loss(output: Any) -> Tensor:
    """Return a scalar to differentiate: a model's own loss, cross-entropy of scores, or a sum."""
    loss = getattr(output, "loss", None)
    if isinstance(loss, Tensor):
        return loss
    scores = [t for t in tensors_of(output) if t.is_floating_point() and t.requires_grad]
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
    recorder = _Recorder(target)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_refusals(module, recorder))
        stack.enter_context(silent())
        stack.enter_context(training(module))
        stack.enter_context(paths(module, recorder.where))
        if real:
            stack.enter_context(unchanged(module))
        else:
            stack.enter_context(not_packed())
            mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            recorder.memory.ignore(stack.enter_context(faked(module, mode)))
            inputs = cast("Inputs", tree_map(lambda v: fake(v, mode), inputs))
        recorder.memory.ignore((list(module.parameters()), list(module.buffers()), inputs))
        stack.enter_context(recorder)
        if target == "cuda":
            stack.enter_context(AsOnCuda(computed=real))
        args, kwargs = inputs
        with torch.autocast("cpu", torch.bfloat16, enabled=numerics == "amp"):
            alive = [loss(module(*args, **kwargs))]
        kept = recorder.end_forward()
        torch.autograd.backward(alive)
        trace = recorder.blocks.trace(module, inputs, alive) if recorder.blocks else None
    return CapturedStep(
        kernels=tuple(recorder.kernels),
        num_calls=recorder.num_calls,
        kept_bytes=kept,
        peak_bytes=recorder.memory.peak,
        unknown=tuple(recorder.unknown),
        trace=trace,
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


def _place(module: nn.Module, recorder: _Recorder, error: Exception) -> str:
    if recorder.phase == "backward":
        return "its backward"
    path = cast("str", vars(error).get(FAILED_AT, ""))
    kind = type(module.get_submodule(path)).__name__
    return f"its layer '{path}' ({kind})" if path else f"its forward ({kind})"
