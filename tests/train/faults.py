"""Faults for the training loop: memory that runs out, and numbers that break."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import torch

NO_GPU_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
NO_MEMORY = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 33554432 bytes. Error code 12 (Cannot allocate memory)"
)


class Calls:
    """Calls that are counted from 1."""

    def __init__(self, first: int, last: int | None = None) -> None:
        self.first, self.last = first, last

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int)
        return self.first <= number and (self.last is None or number <= self.last)


class Faulty:
    """Does what a function does, but not at some of its calls.

    Args:
        work: The function.
        at: Numbers of the calls with the fault, from 1.
        fault: Given what `work` returned, returns something else or raises; an exception is raised.
        before: Raise before `work` is done.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        at: Container[int],
        fault: Exception | Callable[[Any], Any],
        *,
        before: bool = False,
    ) -> None:
        self.work, self.at, self.fault, self.before = work, at, fault, before
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        is_due = self.calls in self.at
        if is_due and self.before and isinstance(self.fault, Exception):
            raise self.fault
        done = self.work(*args)
        if not is_due:
            return done
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault(done)
