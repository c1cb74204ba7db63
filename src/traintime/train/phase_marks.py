"""The phases of a training step, and how long each of them is.

A mark says whose the time is from now on, so phases that lie between marks sum to the step exactly.
"""

from __future__ import annotations

import itertools
from time import perf_counter
from typing import Any, Protocol

import torch

DATA, FORWARD, BACKWARD = "data", "forward", "backward"
PENALTIES, CHECKS, OPTIMIZER, AVERAGE = "penalties", "checks", "optimizer", "average"
PHASES = (DATA, FORWARD, BACKWARD, PENALTIES, CHECKS, OPTIMIZER, AVERAGE)
BEGIN = "begin"
"""Where one step ends and the next one begins, with checks."""


class Marker(Protocol):
    """Told from when on the time belongs to a phase."""

    def mark(self, phase: str) -> None:
        """From now on."""
        ...


class Stamps:
    """Notes the time of each mark, on a GPU in the order of its own work."""

    def __init__(self, device: str) -> None:
        self._is_cuda, self._device = device.startswith("cuda"), device
        self._marks: list[tuple[str, Any]] = []

    def mark(self, phase: str) -> None:
        """From now on."""
        if self._is_cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._marks.append((phase, event))
        else:
            self._marks.append((phase, perf_counter()))

    def steps(self) -> list[dict[str, float]]:
        """Return the seconds of each phase of every step."""
        if self._is_cuda:
            torch.cuda.synchronize(self._device)
        steps: list[dict[str, float]] = []
        for (mark, begin), (_, end) in itertools.pairwise(self._marks):
            if mark == BEGIN:
                steps.append({})
            phase = CHECKS if mark == BEGIN else mark
            seconds = begin.elapsed_time(end) / 1e3 if self._is_cuda else end - begin
            steps[-1][phase] = steps[-1].get(phase, 0.0) + seconds
        return steps
