"""The blocks of memory that come and go in a training step, in order.

Where freed memory is not given back, as on a CPU, the order decides what a process holds in the
end: see `forecast.heap_peak`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

What = Literal[
    "tensor", "result", "workspace", "view", "node", "primitives", "packed", "kept", "end"
]
"""A tensor without and with a place in autograd's graph, one that is written to in parts, another
view of one, a node of the graph, oneDNN's objects, what a matrix product packs its factors into,
what a library keeps for good; and the end of a block."""


@dataclass(frozen=True, slots=True)
class Event:
    """A block that comes, or the end of one.

    Args:
        what: What it is.
        block: Its number.
        num_bytes: Of a tensor's data, or of what is kept.
        sides: M, K and N of a matrix product.
    """

    what: What
    block: int
    num_bytes: float = 0.0
    sides: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Blocks of one forward and backward.

    Args:
        events: In order; a node without an end lasts until the step's.
        weights_bytes: Of each parameter and buffer.
        inputs_bytes: Of each input.
        gradients: (bytes, number of its block) for each parameter that has one.
        last: Blocks that end with the step, such as the loss.
    """

    events: tuple[Event, ...]
    weights_bytes: tuple[int, ...]
    inputs_bytes: tuple[float, ...]
    gradients: tuple[tuple[int, int], ...]
    last: tuple[int, ...] = ()


UNSCALED = ("kept", "end")
"""What is the same at any batch size."""
Traces = tuple[tuple[int, Trace], tuple[int, Trace]]
"""Two batch sizes, each with its trace."""


def trace_at(batch_size: float, captured: Traces) -> Trace:
    """Return the trace at any batch size from those at two: each block grows linearly.

    Peaks do not: the order of sizes decides which hole a block finds.

    Args:
        batch_size: Samples.
        captured: Two batch sizes and their traces. The order is taken from the first, unless it
            keeps less for good: then two of its shapes happen to be the same.

    Raises:
        ValueError: They are not of the same blocks.
    """
    (small, first), (large, second) = sorted(captured, key=lambda one: -_num_kept(one[1]))
    share = (batch_size - small) / (large - small)
    theirs = {event.block: event for event in second.events if event.what not in UNSCALED}
    if [e.block for e in first.events if e.what not in UNSCALED] != list(theirs):
        raise ValueError("A step made other blocks at another batch size")

    def between(one: float, other: float) -> float:
        return max(one + share * (other - one), 0.0)

    def scaled(one: Event) -> Event:
        if one.what in UNSCALED:
            return one
        other = theirs[one.block]
        sides = tuple(map(between, one.sides, other.sides))
        return replace(one, num_bytes=between(one.num_bytes, other.num_bytes), sides=sides)

    return replace(
        first,
        events=tuple(map(scaled, first.events)),
        inputs_bytes=tuple(map(between, first.inputs_bytes, second.inputs_bytes)),
    )


def _num_kept(trace: Trace) -> int:
    return sum(event.what == "kept" for event in trace.events)
