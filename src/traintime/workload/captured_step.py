"""One forward and backward of any torch module, written down without its device.

Parameters and inputs become fake tensors, which have shapes and no values, so nothing is computed
and no memory is used. Below autograd every operation that torch dispatches in forward and backward
is written down with its FLOP and the bytes it reads and writes. Mixed precision is captured by
running autocast itself, with CUDA's list of operations that stay in fp32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from traintime.errors import InputError
from traintime.workload.as_on_cuda import AsOnCuda, not_packed
from traintime.workload.chained_blocks import BlockBytes, chains, watched
from traintime.workload.joined_kernels import KernelFlow
from traintime.workload.kernels import Numerics, Phase, Target
from traintime.workload.live_bytes import LiveBytes, tensors_of
from traintime.workload.module_states import (
    fake,
    faked,
    paths,
    silent,
    training,
    unchanged,
)
from traintime.workload.op_rules import Counted, count_op, is_view, tensors_read
from traintime.workload.refusals import Now, refusals
from traintime.workload.step_blocks import Trace
from traintime.workload.time_limit import limit_at_safe_points
from traintime.workload.watched_blocks import WatchedBlocks, with_both_biases

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]
Loss = Callable[[Any], Tensor]
STEP_LIMIT_S = 120.0
"""For one forward and backward; of the largest models known here, one takes some ten seconds."""


@dataclass(frozen=True)
class CapturedStep:
    """One forward and backward at one batch and input size.

    Args:
        kernels: In the order they were dispatched.
        num_calls: Dispatched operations, views included.
        kept_bytes: Live after the forward, beyond parameters, buffers and inputs.
        peak_bytes: The most that was live, counted the same way.
        kept_data_bytes: What is kept without what the allocator rounds up, so that it grows evenly.
        data_bytes: The most that was live at each dispatched operation, counted so too.
        unknown: Operations whose FLOP no rule counts.
        blocks: What each block of its chains leaves in memory, in the order that they ran.
        shares_left: Of each kernel's bytes, where a compiler joins it with its neighbours; none if
            that was not followed.
        trace: Its blocks of memory, if it is a CPU's.
    """

    kernels: tuple[tuple[Counted, Phase, str], ...]
    num_calls: int
    kept_bytes: int
    peak_bytes: int
    kept_data_bytes: int
    data_bytes: tuple[int, ...]
    unknown: tuple[str, ...]
    blocks: tuple[BlockBytes, ...] = ()
    shares_left: tuple[float, ...] = ()
    trace: Trace | None = None


class _Recorder(TorchDispatchMode):
    """Writes down every operation that reaches the device, and what stays alive.

    Args:
        target: Blocks of memory are told apart for a "cpu".
        joins: Whether it is followed what a compiler would join.
    """

    def __init__(self, target: Target, *, joins: bool) -> None:
        super().__init__()
        self.kernels: list[tuple[Counted, Phase, str]] = []
        self.unknown: dict[str, None] = {}
        self.num_calls = 0
        self.now = Now()
        self.safe_point: Callable[[], None] = _go_on
        self.memory = LiveBytes()
        self.data_bytes: list[int] = []
        self.flow = KernelFlow() if joins else None
        self.blocks = WatchedBlocks(self.memory) if target == "cpu" else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = with_both_biases(func, func(*args, **kwargs))
        if func.namespace == "prim":  # asks for a property, computes nothing
            return result
        self.safe_point()
        self.num_calls += 1
        if self.blocks:
            self.blocks.see(func, args, result, self.now.phase)
        else:
            self.memory.see(result)
        self.data_bytes.append(self.memory.most_data_since())
        if not is_view(func):
            counted = count_op(func, args, kwargs, result)
            where = self.now.layer
            self.kernels.extend((one, self.now.phase, where) for one in counted.kernels)
            if counted.kernels and self.flow:
                read = tensors_read(func, args, kwargs)
                self.flow.see(read, result, counted.kernels, self.now.phase)
            if counted.unknown:
                self.unknown[str(func)] = None
        return result

    def end_forward(self) -> tuple[int, int]:
        """Go over to the backward; return the bytes that are kept for it, rounded up and not."""
        self.now.stage = "backward"
        self.now.layers.clear()
        if self.blocks:
            self.blocks.end_forward()
        return self.memory.live, self.memory.data


def _go_on() -> None:
    """Stop nowhere."""


def default_loss(output: Any) -> Tensor:
    """Return a scalar to differentiate: a model's own loss, cross-entropy of scores, or a sum."""
    loss = getattr(output, "loss", None)
    if isinstance(loss, Tensor):
        return loss
    scores = [t for t in tensors_of(output) if t.is_floating_point() and t.requires_grad]
    if not scores:
        raise InputError(
            f"The model's output ({type(output).__name__}) holds no number that depends on weights "
            "which are trained, so there is nothing to forecast. Look whether it has parameters, "
            "requires_grad=True, and a forward that returns what it computes outside no_grad()"
        )
    first = scores[0]
    if len(scores) == 1 and first.ndim == 2 and first.shape[1] > 1:
        labels = torch.zeros(first.shape[0], dtype=torch.long, device=first.device)
        return nn.functional.cross_entropy(first, labels)
    return torch.stack([score.float().sum() for score in scores]).sum()


def with_values(inputs: Inputs) -> Inputs:
    """Return inputs in which those that have a shape alone are zeros."""
    return cast("Inputs", tree_map(lambda v: _zeros(v) if _is_meta(v) else v, inputs))


def _is_meta(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _zeros(value: Tensor) -> Tensor:
    return torch.zeros(value.shape, dtype=value.dtype)


def capture_step(
    module: nn.Module,
    inputs: Inputs,
    numerics: Numerics = "fp32",
    loss: Loss = default_loss,
    *,
    target: Target = "cuda",
    real: bool = False,
    joins: bool = True,
) -> CapturedStep:
    """Run one forward and backward and write down what it launches.

    Args:
        module: Trained as it is, or put into training mode meanwhile; it is left as it was.
        inputs: Positional and named arguments of the forward; shapes alone matter.
        numerics: "fp32" or "amp".
        loss: Makes a scalar of the output.
        target: Launch what torch launches on "cuda", or on the "cpu".
        real: Compute on the CPU indeed: for control flow that depends on values.
        joins: Follow what a compiler would join, which takes a while.

    Raises:
        NeedsValuesError: Shapes alone do not do; `real` might.
        InputError: A layer refused what it was given, or the step did not end.
    """
    recorder, blocks = _Recorder(target, joins=joins), list[BlockBytes]()
    with contextlib.ExitStack() as stack:
        stack.enter_context(refusals(module, recorder.now, inputs))
        recorder.safe_point = stack.enter_context(limit_at_safe_points(STEP_LIMIT_S))
        stack.enter_context(silent())
        stack.enter_context(training(module))
        stack.enter_context(paths(module, recorder.now.layers))
        if real:
            inputs = with_values(inputs)
            stack.enter_context(unchanged(module))
        else:
            stack.enter_context(not_packed())
            mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            recorder.memory.ignore(stack.enter_context(faked(module, mode)))
            inputs = cast("Inputs", tree_map(lambda v: fake(v, mode), inputs))
        recorder.memory.ignore((list(module.parameters()), list(module.buffers()), inputs))
        stack.enter_context(watched(chains(module), recorder.memory, recorder.data_bytes, blocks))
        stack.enter_context(recorder)
        if target == "cuda":
            stack.enter_context(AsOnCuda(computed=real))
        args, kwargs = inputs
        with torch.autocast("cpu", torch.bfloat16, enabled=numerics == "amp"):
            alive = [module(*args, **kwargs)]
            recorder.now.stage = "loss"
            alive.append(loss(alive.pop()))
        kept, kept_data = recorder.end_forward()
        torch.autograd.backward(alive)
        trace = recorder.blocks.trace(module, inputs, alive) if recorder.blocks else None
    return CapturedStep(
        kernels=tuple(recorder.kernels),
        num_calls=recorder.num_calls,
        kept_bytes=kept,
        peak_bytes=recorder.memory.peak,
        kept_data_bytes=kept_data,
        data_bytes=tuple(recorder.data_bytes),
        unknown=tuple(recorder.unknown),
        blocks=tuple(blocks),
        shares_left=tuple(recorder.flow.shares_left()) if recorder.flow else (),
        trace=trace,
    )
