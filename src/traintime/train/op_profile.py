"""The operations of a training step, as torch's profiler sees them, by layer and by phase.

The profiler tells which operation takes which part. How long the step is, it cannot tell: watching
each call costs time of its own. So its times are scaled where they exceed those of the step without
it. What no operation fills is waiting for other processes, as far as the system tells, and else
dispatch: Python, autograd, and on a GPU waiting for both; on a CPU also what each call takes that
has next to nothing to do.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from traintime.train.phase_marks import BACKWARD, BEGIN, CHECKS
from traintime.train.step_profile import StepTimes, WatchedSteps

DISPATCH, WAITING = "dispatch", "other processes"
PHASE, LAYER = "phase ", "layer "
ENGINE, ACCUMULATE = "autograd::engine::evaluate_function", "AccumulateGrad"
LEAST_STEPS, MOST_STEPS, BUDGET_S = 3, 20, 1.0
EMPTY_CALLS = 300
CASTS = frozenset({"aten::_to_copy", "aten::clone", "aten::contiguous"})
WRAPPERS = (
    "_batch_norm_impl_index _convolution _local_scalar_dense _reshape_alias _to_copy "
    "_unsafe_view adaptive_avg_pool2d alias as_strided as_strided_ batch_norm chunk clone "
    "contiguous conv2d convolution cross_entropy_loss cudnn_is_acceptable detach dropout "
    "empty empty_like empty_strided expand expand_as flatten is_nonzero item linear "
    "log_softmax matmul max_pool2d narrow new_empty new_zeros nll_loss nll_loss_nd numpy_T "
    "ones_like permute relu reshape resize_ resolve_conj resolve_neg select set_ slice "
    "split squeeze t tensor_split to transpose unbind unflatten unsqueeze view view_as "
    "zeros zeros_like"
)
"""Operations that call others, make views or get memory: none of their own time is computing."""
WRAPPING = frozenset(f"aten::{name}" for name in WRAPPERS.split())


@dataclass(frozen=True)
class OpTime:
    """What an operation takes in one step.

    Args:
        name: As torch calls it, such as "aten::addmm"; DISPATCH or WAITING where there is none.
        phase: Of the step.
        layer: Number of the layer that it belongs to; None if it is none's.
        is_copy: Whether it only changes the type or the layout of something.
        seconds: In one step.
        calls: In one step.
    """

    name: str
    phase: str
    layer: int | None
    is_copy: bool
    seconds: float
    calls: float


def measure_ops(
    steps: WatchedSteps, layers: Sequence[nn.Module], times: StepTimes
) -> tuple[OpTime, ...]:
    """Return the operations of a job's step; their times sum to the step's.

    Args:
        steps: Where the steps come from.
        layers: Parts of the network to tell apart; none of a compiled one, which is no longer
            computed layer by layer.
        times: Of these steps when nobody looks.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to stderr
    device = steps.job.execution.device
    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU]
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    count = max(LEAST_STEPS, min(MOST_STEPS, int(BUDGET_S / times.step_s)))
    empty_call_s = 0.0 if on_gpu else _empty_call_seconds()
    named = _named_layers(() if steps.job.execution.compile else layers)
    with named, profile(activities=activities) as profiler, _Scopes() as scopes:
        steps.take(count, scopes)
        if on_gpu:
            torch.cuda.synchronize(device)
    events = [event for event in profiler.events() or () if event.device_type.name == "CPU"]
    found = _typical(_Reader(on_gpu).read(events), count)
    busy = [replace(op, seconds=max(0.0, op.seconds - op.calls * empty_call_s)) for op in found]
    return tuple(_with_rest(busy, times.phases_s, times.contention.waited_share))


def _empty_call_seconds() -> float:
    """Return what the profiler says of an operation on a single number; loads it, too."""
    number = torch.zeros(1)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(EMPTY_CALLS):
            number.add_(1)
    calls = [e.self_cpu_time_total for e in profiler.events() or () if e.name == "aten::add_"]
    return statistics.median(calls) * 1e-6


def _with_rest(
    ops: Sequence[OpTime], phases_s: Mapping[str, float], waited_share: float
) -> Iterator[OpTime]:
    """Fit the operations of each phase into its time, and add what they leave over."""
    for phase, phase_s in phases_s.items():
        of_phase = [op for op in ops if op.phase == phase]
        busy_s = sum(op.seconds for op in of_phase)
        scale = min(1.0, phase_s / busy_s) if busy_s else 1.0
        yield from (replace(op, seconds=op.seconds * scale) for op in of_phase)
        idle_s = phase_s - busy_s * scale
        waited_s = min(idle_s, waited_share * phase_s)
        for name, seconds in ((WAITING, waited_s), (DISPATCH, idle_s - waited_s)):
            if seconds > 0:
                yield OpTime(name, phase, None, False, seconds, 0.0)


def _typical(ops: Iterable[tuple[int, OpTime]], steps: int) -> list[OpTime]:
    """Return one for all calls of an operation at one place, as in the step in the middle.

    Args:
        ops: Calls with the number of their step.
        steps: How many there are.
    """
    sums: dict[tuple[str, str, int | None, bool], list[float]] = {}
    calls: Counter[tuple[str, str, int | None, bool]] = Counter()
    for step, op in ops:
        key = (op.name, op.phase, op.layer, op.is_copy)
        sums.setdefault(key, [0.0] * steps)[step] += op.seconds
        calls[key] += 1
    return [OpTime(*k, statistics.median(of), calls[k] / steps) for k, of in sums.items()]


def named_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the parts of a network that compute something, in the order of their operations.

    A part with branches stands behind them: what is its own is the sum at their end.
    """
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        found += [(f"{name}.{inner}".rstrip("."), part) for inner, part in named_layers(child)]
        has_parts = next(child.children(), None) is not None
        if not isinstance(child, nn.Sequential) if has_parts else not isinstance(child, IDLE):
            found.append((name, child))
    return found


IDLE = (nn.Flatten, nn.Identity, nn.Sequential)


class _Reader:
    """Finds phase and layer of each event: by what encloses it, or by what it is the gradient of.

    A backward operation carries the number of the forward operation that it belongs to.
    """

    def __init__(self, on_gpu: bool) -> None:
        self._on_gpu = on_gpu
        self._layer_of: dict[int, int | None] = {}
        self._last: int | None = None
        self._step = -1

    def read(self, events: Sequence[FunctionEvent]) -> Iterator[tuple[int, OpTime]]:
        """Yield the operations that compute something, call by call, with their step's number."""
        roots = [event for event in events if event.cpu_parent is None]
        for event in sorted(roots, key=lambda event: event.time_range.start):
            for op in self._visit(event, CHECKS, None, False):
                yield self._step, op

    def _visit(
        self, event: FunctionEvent, phase: str, layer: int | None, is_copy: bool
    ) -> Iterator[OpTime]:
        name = event.name
        if name.startswith(PHASE):
            phase = name.removeprefix(PHASE)
            if phase == BEGIN:
                self._step, phase = self._step + 1, CHECKS
        elif name.startswith(LAYER):
            layer = int(name.removeprefix(LAYER))
        elif name.startswith(ENGINE):
            phase, layer = BACKWARD, self._layer_behind(event)
        elif phase != BACKWARD and event.sequence_nr >= 0:
            self._layer_of[event.sequence_nr] = layer
        is_copy = is_copy or name in CASTS
        micros = event.self_device_time_total if self._on_gpu else event.self_cpu_time_total
        if micros > 0 and name.startswith("aten::") and (self._on_gpu or name not in WRAPPING):
            yield OpTime(name, phase, layer, is_copy, micros * 1e-6, 1.0)
        elif micros > 0 and _is_compiled(name):
            yield OpTime(name, phase, layer, False, micros * 1e-6, 1.0)
        for child in event.cpu_children:
            yield from self._visit(child, phase, layer, is_copy)

    def _layer_behind(self, event: FunctionEvent) -> int | None:
        """Return whose gradient it is; a parameter's is added up right after its layer's."""
        if ACCUMULATE not in event.name:
            self._last = self._layer_of.get(event.sequence_nr)
        return self._last


def _is_compiled(name: str) -> bool:
    return "Compiled" in name or name.startswith("triton_")


class _Scopes:
    """Opens a profiler's scope for each phase."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> _Scopes:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def mark(self, phase: str) -> None:
        """From now on."""
        self._open.close()
        self._open.enter_context(record_function(PHASE + phase))


def _named_layers(layers: Sequence[nn.Module]) -> ExitStack:
    """Open a profiler's scope around the forward of each layer."""
    cleaning = ExitStack()
    for number, layer in enumerate(layers):
        enter, leave = _scope_hooks(number)
        cleaning.callback(layer.register_forward_pre_hook(enter).remove)
        cleaning.callback(layer.register_forward_hook(leave).remove)
    return cleaning


def _scope_hooks(number: int) -> tuple[Callable[..., None], Callable[..., None]]:
    scope: list[Any] = []

    def enter(_module: nn.Module, _inputs: Any) -> None:
        scope.append(record_function(f"{LAYER}{number}"))
        scope[-1].__enter__()

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        scope.pop().__exit__(None, None, None)

    return enter, leave
