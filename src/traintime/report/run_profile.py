"""What a profile of a run says: where its time goes, what limits it, and what to change."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part of a step, or of an epoch."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Pace:
    """How fast something is done, and how fast the machine does it when it does nothing else.

    Args:
        per_s: FLOP or bytes per second.
        machine_per_s: What the machine sustains at these sizes.
        unit: "FLOP/s" or "B/s".
    """

    per_s: float
    machine_per_s: float
    unit: str

    @property
    def efficiency(self) -> float:
        """The one over the other."""
        return self.per_s / self.machine_per_s


@dataclass(frozen=True)
class KindCost:
    """What a kind of operation costs in a step.

    Args:
        kind: As the forecast names it, or copies, which it does not know of.
        seconds: In one step.
        share: Of the step.
        calls: In one step.
        pace: How well it is done, where the work is known.
        forecast_s: What the run's forecast said.
    """

    kind: str
    seconds: float
    share: float
    calls: float
    pace: Pace | None
    forecast_s: float | None


@dataclass(frozen=True)
class LayerCost:
    """What a layer of the network costs in a step.

    Args:
        place: Its name in the module.
        name: What it is.
        forward_s: In one step.
        backward_s: In one step.
        share: Of the step.
        pace: How well it is done.
    """

    place: str
    name: str
    forward_s: float
    backward_s: float
    share: float
    pace: Pace | None


@dataclass(frozen=True)
class Change:
    """Something to type, and what it brings.

    Args:
        words: What to type.
        factor: Times as fast; None where that is not known.
        basis: What the factor stands on: "forecast" or "measured".
        note: What else it changes.
    """

    words: str
    factor: float | None
    basis: str
    note: str = ""


@dataclass(frozen=True)
class RunProfile:
    """Where the time of a run goes.

    Args:
        run: Its name.
        title: What is trained.
        execution: How.
        threads: Of torch.
        weights: Whose weights the steps were taken with.
        steps_measured: How many.
        step_s: Seconds of a step here.
        low_s: Of the step that 10 % are shorter than.
        high_s: Of the step that 10 % are longer than.
        run_step_s: Seconds of a step in the run.
        forecast_step_s: What was forecast.
        parts: Of a step and what surrounds it, in its order; they sum to it.
        stages: Of the run, by what its time went into.
        kinds: Of operations, the costliest first.
        layers: Of the network, the costliest first.
        limited_by: What takes most: "compute", "memory", "dispatch", "input", "optimizer",
            "records", "validation", "checkpoints" or "another process".
        limit: That in a sentence.
        changes: What would make it faster, the best first.
        waited_share: Share of the time in which others had the processor.
        cores_used: That this process kept busy.
        load: Of the machine.
    """

    run: str
    title: str
    execution: str
    threads: int
    weights: str
    steps_measured: int
    step_s: float
    low_s: float
    high_s: float
    run_step_s: float | None
    forecast_step_s: float
    parts: tuple[Part, ...]
    stages: tuple[Part, ...]
    kinds: tuple[KindCost, ...]
    layers: tuple[LayerCost, ...]
    limited_by: str
    limit: str
    changes: tuple[Change, ...]
    waited_share: float
    cores_used: float
    load: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)
