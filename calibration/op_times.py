"""How long each operation of a step takes on this machine's CPU, as torch's profiler sees it.

Operations are told apart as a captured graph tells its kernels apart: by name and phase, and
convolutions by the number of their weights, which tells the layers of a network apart.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to stderr

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from traintime.workload.kernels import Kernel, KernelGraph

ENGINE = "autograd::engine::evaluate_function"
OPTIMIZER = "Optimizer.step"
PARTS = (".input", ".weight", ".bias")
"""Kernels of one operation, which the profiler does not tell apart."""


def key_of(kernel: Kernel) -> str:
    """Return what the profiler knows a kernel's operation by."""
    name = kernel.op.split(".", 1)[1]
    for part in PARTS:
        name = name.removesuffix(part)
    return f"{name} {kernel.phase}"


def keys_of(graph: KernelGraph, batch_size: float, ops_s: Mapping[str, float]) -> list[str]:
    """Return what each kernel's operation is known by: of convolutions by layer, where it can be.

    A bias is added in the operation of a convolution whose weights it does not know. Such layers
    are one operation together, as all are in timings that do not tell them apart.

    Args:
        graph: The kernels.
        batch_size: Samples of the step.
        ops_s: Seconds as `time_ops` returns them.
    """
    whole = {key_of(one) for one in graph.kernels if "convolution" not in one.kind}
    whole |= ops_s.keys()
    return [
        key if (key := key_of(one)) in whole else f"{key} {_num_weights(one, batch_size)}"
        for one in graph.kernels
    ]


def seconds_of(key: str, ops_s: Mapping[str, float]) -> float:
    """Return the seconds of what `keys_of` names, nan where the profiler saw none."""
    layers = [seconds for name, seconds in ops_s.items() if name.startswith(f"{key} ")]
    return ops_s.get(key, sum(layers) if layers else math.nan)


def _num_weights(kernel: Kernel, batch_size: float) -> int:
    groups, rows, columns, inner = kernel.at(batch_size).sides
    a, b = (rows, columns) if kernel.op.endswith(".weight") else (columns, inner)
    return round(groups * a * b)


WEIGHT_OF = {"convolution": 1, "convolution_backward": 2}
"""Which argument of a convolution are its weights."""


def _told_apart(name: str, shapes: Sequence[Sequence[int]]) -> str:
    place = WEIGHT_OF.get(name)
    return "" if place is None else f" {math.prod(shapes[place])}"


def time_ops(
    step: Callable[[], object], graph: KernelGraph, *, budget_s: float, most: int
) -> dict[str, float]:
    """Return seconds in one step by operation, of convolutions by layer, and of the optimizer.

    Args:
        step: Trains one step.
        graph: Of the step.
        budget_s: For all steps that are watched.
        most: Steps to watch at most; at least two are.
    """
    began = perf_counter()
    step()
    count = max(2, min(most, int(budget_s / (perf_counter() - began))))
    empty_s = _empty_call_s()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(count):
            step()
    names = {key_of(kernel).split()[0] for kernel in graph.kernels}
    seconds: dict[str, float] = {}

    def visit(event: FunctionEvent, phase: str) -> None:
        phase = "backward" if event.name.startswith(ENGINE) else phase
        name = event.name.removeprefix("aten::")
        known = OPTIMIZER
        if name in names:
            known = f"{name} {phase}{_told_apart(name, event.input_shapes)}"
        if name in names or event.name.startswith(OPTIMIZER):
            spent = max(0.0, event.cpu_time_total * 1e-6 - empty_s)
            seconds[known] = seconds.get(known, 0.0) + spent / count
            return
        for child in event.cpu_children:
            visit(child, phase)

    for event in profiler.events() or ():
        if event.cpu_parent is None and event.device_type.name == "CPU":
            visit(event, "forward")
    return seconds


def _empty_call_s() -> float:
    """Return what the profiler says of an operation on a single number."""
    number = torch.zeros(1)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(100):
            number.add_(1)
    calls = [e.cpu_time_total for e in profiler.events() or () if e.name == "aten::add_"]
    return statistics.median(calls) * 1e-6
