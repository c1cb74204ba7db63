"""The blocks of memory that come and go in a training step, in order.

Where freed memory is not given back, as on a CPU, the order decides what a process holds in the
end: see `forecast.heap_peak`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

What = Literal["tensor", "result", "workspace", "view", "node", "primitives", "kept", "end"]
"""A tensor without and with a place in autograd's graph, one that is written to in parts, another
view of one, a node of the graph, oneDNN's objects, what a library keeps for good; and the end of a
block."""


@dataclass(frozen=True, slots=True)
class Event:
    """A block that comes, or the end of one.

    Args:
        what: What it is.
        block: Its number.
        num_bytes: Of a tensor's data, or of what is kept.
    """

    what: What
    block: int
    num_bytes: float = 0.0


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


Traces = tuple[tuple[int, Trace], tuple[int, Trace]]
"""Two batch sizes, each with its trace."""


def trace_at(batch_size: float, captured: Traces) -> Trace:
    """Return the trace at any batch size from those at two: each block grows linearly.

    Peaks do not: the order of sizes decides which hole a block finds.

    Args:
        batch_size: Samples.
        captured: Two batch sizes and their traces. The order is taken from the first.

    Raises:
        ValueError: They are not of the same blocks.
    """
    (small, first), (large, second) = captured
    share = (batch_size - small) / (large - small)
    theirs = {event.block: event for event in second.events if event.what != "end"}
    if [e.block for e in first.events if e.what != "end"] != list(theirs):
        raise ValueError("A step made other blocks at another batch size")

    def between(one: float, other: float) -> float:
        return max(one + share * (other - one), 0.0)

    return replace(
        first,
        events=tuple(
            event
            if event.what == "end"
            else replace(event, num_bytes=between(event.num_bytes, theirs[event.block].num_bytes))
            for event in first.events
        ),
        inputs_bytes=tuple(map(between, first.inputs_bytes, second.inputs_bytes)),
    )
