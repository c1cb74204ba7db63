"""Seconds of a training step: each operation's work over the rate its device sustains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from traintime.hardware.execution import Execution
from traintime.hardware.profile import HardwareProfile
from traintime.workload.op_graph import PRODUCTS, Op, OpGraph


@dataclass(frozen=True)
class OpTime:
    """Where a part of a step goes."""

    op: Op
    seconds: float
    dispatch_s: float


@dataclass(frozen=True)
class StepTime:
    """A training step, operation by operation.

    Args:
        parts: One per operation.
    """

    parts: tuple[OpTime, ...]

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return sum(part.seconds for part in self.parts)

    def by_kind(self) -> Mapping[str, float]:
        """Return seconds by kind of operation, the largest first; dispatch is a kind of its own."""
        totals: dict[str, float] = {"dispatch": sum(part.dispatch_s for part in self.parts)}
        for part in self.parts:
            busy = part.seconds - part.dispatch_s
            totals[part.op.kind] = totals.get(part.op.kind, 0.0) + busy
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def predict_step(
    graph: OpGraph, batch_size: int, execution: Execution, profile: HardwareProfile
) -> StepTime | None:
    """Return the time of a training step, or None if the profile lacks a rate for it."""
    alone: list[OpTime] = []
    for op in graph.ops:
        busy_s = _busy_seconds(op, batch_size, execution, profile)
        if busy_s is None:
            return None
        dispatch_s = op.launches * profile.dispatch_s
        alone.append(OpTime(op, busy_s + dispatch_s, dispatch_s))
    return StepTime(tuple(_in_context(alone, execution.precision, profile)))


def _in_context(
    alone: Sequence[OpTime], precision: str, profile: HardwareProfile
) -> Iterator[OpTime]:
    """Stretch the network's operations by what they cost each other."""
    network = StepTime(tuple(part for part in alone if part.op.is_network))
    kinds = [kind for kind in network.by_kind() if kind in PRODUCTS]
    ratio = profile.context(kinds[0], precision, network.seconds) if kinds else 1.0
    for part in alone:
        stretch = ratio if part.op.is_network else 1.0
        yield OpTime(part.op, part.seconds * stretch, part.dispatch_s * stretch)


def predict_inference(
    graph: OpGraph, samples: int, execution: Execution, profile: HardwareProfile, batch_size: int
) -> float:
    """Return seconds to run the forward alone over samples that are held out."""
    batches = -(-samples // batch_size)
    seconds = 0.0
    for op in graph.ops:
        if not op.forward_share:
            continue
        busy_s = _busy_seconds(op, batch_size, execution, profile) or 0.0
        seconds += busy_s * op.forward_share * samples / batch_size
        seconds += batches * op.launches / 3 * profile.dispatch_s
    return seconds


def _busy_seconds(
    op: Op, batch_size: int, execution: Execution, profile: HardwareProfile
) -> float | None:
    precision = op.precision or execution.precision
    form = f"{precision} {execution.memory_format}" if op.image else precision
    if op.kind == "fused convolution":
        form = f"{precision} contiguous"
    rate = profile.rate(op.kind, form, op.size_at(batch_size))
    return None if rate is None else op.work(batch_size) / rate
