"""How long each operation of a step takes on this machine's CPU, as torch's profiler sees it.

Operations are told apart as a captured graph tells its kernels apart: by name and phase.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
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


def time_ops(
    step: Callable[[], object], graph: KernelGraph, *, budget_s: float, most: int
) -> dict[str, float]:
    """Return seconds in one step by `key_of`, and of the optimizer.

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
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(count):
            step()
    names = {key_of(kernel).split()[0] for kernel in graph.kernels}
    seconds: dict[str, float] = {}

    def visit(event: FunctionEvent, phase: str) -> None:
        phase = "backward" if event.name.startswith(ENGINE) else phase
        name = event.name.removeprefix("aten::")
        known = f"{name} {phase}" if name in names else OPTIMIZER
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
