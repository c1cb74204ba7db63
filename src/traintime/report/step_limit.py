"""What limits a run: the largest part of its time, and what that says."""

from __future__ import annotations

from collections.abc import Sequence

from traintime.report.run_profile import KindCost
from traintime.report.step_costs import COPIES, Measured, kind_costs
from traintime.train.op_profile import DISPATCH, WAITING
from traintime.train.phase_marks import BACKWARD, DATA, FORWARD
from traintime.units import format_percent, format_rate
from traintime.workload.op_graph import PRODUCTS

BUSY = 0.1
"""Share of the time in which others had the processor, from which that is what limits."""
WITHIN = ("compute", "memory", "dispatch", "input", "optimizer")
MOVING = ("elementwise", "normalisation", "pooling", COPIES)


def name_limit(measured: Measured) -> tuple[str, str]:
    """Return what limits a run, in a word and in a sentence."""
    contention = measured.times.contention
    if contention.waited_share > BUSY:
        by = f": {contention.busiest} keeps {contention.busiest_cores:.1f} cores busy"
        return (
            "another process",
            f"Another process is busy: for {_percent(contention.waited_share)} of the time this "
            f"one was ready and had to wait (load {contention.load:.1f}"
            f"{by if contention.busiest else ''}). These figures are of a disturbed machine; "
            "profile the run again when it is quiet",
        )
    parts = _by_limit(measured)
    limit = max(parts, key=lambda name: parts[name])
    return limit, _sentence(limit, parts[limit] / sum(parts.values()), measured)


def _by_limit(measured: Measured) -> dict[str, float]:
    """Split the time of a step, with its share of what is done once an epoch, by what limits it."""
    parts: dict[str, float] = dict.fromkeys(WITHIN, 0.0)
    for op in measured.ops:
        kind = measured.kind_of(op)
        if kind == WAITING:
            continue
        if op.phase == DATA:
            parts["input"] += op.seconds
        elif op.phase not in (FORWARD, BACKWARD):
            parts["optimizer"] += op.seconds
        elif kind == DISPATCH:
            parts["dispatch"] += op.seconds
        else:
            parts["memory" if kind in MOVING else "compute"] += op.seconds
    parts["records"] = measured.between_s
    for stage, name in (("validate", "validation"), ("checkpoint", "checkpoints")):
        parts[name] = measured.stages_s.get(stage, 0.0) / max(1, measured.steps)
    return parts


def _sentence(limit: str, share: float, measured: Measured) -> str:
    kinds = kind_costs(measured)
    of_step = f"{_percent(share)} of a step"
    match limit:
        case "compute":
            return f"Compute: {of_step} is {_named(kinds, PRODUCTS)}{_pace_words(kinds)}"
        case "memory":
            moving = _named(kinds, MOVING)
            return f"Memory traffic: {of_step} moves values instead of computing ({moving})"
        case "dispatch":
            calls = sum(kind.calls for kind in kinds)
            return (
                f"Dispatch: {of_step} goes into starting {calls:.0f} small operations, "
                "which themselves take less"
            )
        case "input":
            return f"Input: {of_step} goes into making the batch; the network waits for it"
        case "optimizer":
            name = measured.recipe.optimizer
            return f"The optimizer: {of_step} is the update of {name} and what guards it"
        case "records":
            return f"Records: {of_step} goes into records, display and clock between steps"
        case _:
            return f"{limit.capitalize()}: {_percent(share)} of the time that training takes"


def _named(kinds: Sequence[KindCost], wanted: Sequence[str]) -> str:
    found = [kind for kind in kinds if kind.kind in wanted][:2]
    if len(found) == 1:
        return found[0].kind
    return ", ".join(f"{kind.kind} {_percent(kind.share)}" for kind in found) or "compiled code"


def _pace_words(kinds: Sequence[KindCost]) -> str:
    largest = next((kind for kind in kinds if kind.kind in PRODUCTS), None)
    if largest is None or largest.pace is None:
        return ""
    return (
        f". {largest.kind.capitalize()} runs at {format_rate(largest.pace.per_s)}, "
        f"{_percent(largest.pace.efficiency)} of what this machine sustains at these sizes"
    )


def _percent(share: float) -> str:
    return format_percent(share, 0)
