"""What a step costs, by kind of operation and by layer, against what the machine sustains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from traintime.forecast.forecast import Forecast
from traintime.forecast.step_time import predict_step
from traintime.hardware.execution import Execution
from traintime.hardware.profile import HardwareProfile
from traintime.recipe import Recipe
from traintime.report.run_profile import KindCost, LayerCost, Pace, Part
from traintime.train.op_profile import DISPATCH, WAITING, OpTime
from traintime.train.phase_marks import BACKWARD, DATA, FORWARD
from traintime.train.step_profile import StepTimes
from traintime.workload.op_graph import PRODUCTS, Op, OpGraph

BETWEEN = "between steps"
COPIES = "copies and casts"
COMPILED = "compiled"
LOSS = "loss"
BYTES = {"fp32": 4, "bf16": 2}
ORTHOGONAL = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


@dataclass(frozen=True)
class Measured:
    """What was measured of a run, and what it is held against.

    Args:
        times: Of its steps.
        ops: Of a step.
        places: Names of the network's layers in the module.
        graph: The same layers as amounts of work.
        recipe: Of the run.
        execution: How it is computed.
        machine: What the device sustains.
        forecast: Of the run.
        run_step_s: What a step took in the run; None if it recorded too few.
        between_s: What the run spent between two steps on records, display and clock, per step.
        stages_s: Seconds of the run by stage, as far as it came.
        steps: Optimizer steps that it did.
    """

    times: StepTimes
    ops: tuple[OpTime, ...]
    places: tuple[str, ...]
    graph: OpGraph
    recipe: Recipe
    execution: Execution
    machine: HardwareProfile
    forecast: Forecast
    run_step_s: float | None
    between_s: float
    stages_s: Mapping[str, float]
    steps: int

    @property
    def whole_s(self) -> float:
        """A step with what comes before the next one."""
        return self.times.step_s + self.between_s

    @property
    def layer_ops(self) -> list[Op]:
        """The work of each layer; none where the module has other layers."""
        ops = [op for op in self.graph.ops if op.is_network and op.name != LOSS]
        return ops if len(ops) == len(self.places) else []

    def kind_of(self, op: OpTime) -> str:
        """Return the kind of an operation in the words of the forecast."""
        if op.name in (DISPATCH, WAITING):
            return op.name
        if op.phase == DATA:
            return "input"
        if op.phase not in (FORWARD, BACKWARD):
            orthogonal = self.recipe.optimizer == "muon" and op.name in ORTHOGONAL
            return "orthogonalisation" if orthogonal else "optimizer"
        if not op.name.startswith("aten::"):
            return COMPILED
        if op.is_copy:
            return COPIES
        if op.layer is not None and self.layer_ops:
            return self.layer_ops[op.layer].kind
        return _kind_by_name(op.name)


def shares(seconds: Mapping[str, float]) -> tuple[Part, ...]:
    """Return the parts of a whole that took time."""
    whole = sum(seconds.values())
    return tuple(Part(name, s, s / whole) for name, s in seconds.items() if s > 0)


def kind_costs(measured: Measured) -> tuple[KindCost, ...]:
    """Return what each kind of operation costs, the costliest first."""
    spent: dict[str, list[float]] = {}
    for op in measured.ops:
        total = spent.setdefault(measured.kind_of(op), [0.0, 0.0])
        total[0] += op.seconds
        total[1] += op.calls
    expected = {part.kind: part.seconds for part in measured.forecast.step_by_kind}
    costs = [
        KindCost(
            kind,
            seconds,
            seconds / measured.whole_s,
            calls,
            _pace(measured, [op for op in measured.graph.ops if op.kind == kind], seconds),
            expected.get(kind),
        )
        for kind, (seconds, calls) in spent.items()
    ]
    return tuple(sorted(costs, key=lambda cost: -cost.seconds))


def layer_costs(measured: Measured) -> tuple[LayerCost, ...]:
    """Return what each layer costs, forward and backward, the costliest first."""
    costs: list[LayerCost] = []
    for number, (place, op) in enumerate(zip(measured.places, measured.layer_ops, strict=False)):
        own = [part for part in measured.ops if part.layer == number]
        forward_s = sum(part.seconds for part in own if part.phase == FORWARD)
        backward_s = sum(part.seconds for part in own if part.phase == BACKWARD)
        seconds = forward_s + backward_s
        if seconds > 0:
            share, pace = seconds / measured.whole_s, _pace(measured, [op], seconds)
            costs.append(LayerCost(place, op.name, forward_s, backward_s, share, pace))
    return tuple(sorted(costs, key=lambda cost: -cost.share))


def _pace(measured: Measured, ops: Sequence[Op], seconds: float) -> Pace | None:
    """Hold the work of some operations against the time that the machine takes for it alone."""
    if not ops or seconds <= 0:
        return None
    batch, execution = measured.recipe.batch_size, measured.execution
    alone = replace(measured.machine, contexts=(), dispatch_s=0.0)
    ideal = predict_step(replace(measured.graph, ops=tuple(ops)), batch, execution, alone)
    if ideal is None or ideal.seconds <= 0:
        return None
    if ops[0].kind in PRODUCTS:
        work = sum(op.work(batch) for op in ops)
        return Pace(work / seconds, work / ideal.seconds, "FLOP/s")
    moved = sum(op.work(batch) * BYTES[op.precision or execution.precision] for op in ops)
    return Pace(moved / seconds, moved / ideal.seconds, "B/s")


KIND_BY_WORD = {
    "conv": "convolution",
    "pool": "pooling",
    "batch_norm": "normalisation",
    "mm": "matrix product",
}


def _kind_by_name(name: str) -> str:
    return next((kind for word, kind in KIND_BY_WORD.items() if word in name), "elementwise")
