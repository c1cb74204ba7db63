"""What a process holds that trains on a CPU: a step's blocks, played through on glibc's heap.

Peak memory on a CPU is 1.1 to 2.7 times what is alive at once. A captured step says which blocks
come and go in forward and backward; the small objects around them, the optimizer's blocks, the
gradients' end and what lasts from step to step are added here.

References:
    The sizes of torch's small objects were read from all calls of malloc in steps of random
    networks (calibration/cpu_steps.py), torch 2.13 on x86-64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from traintime.hardware.allocator import is_glibc
from traintime.hardware.glibc_heap import Heap
from traintime.workload.kernels import KernelGraph
from traintime.workload.step_blocks import Event, Trace, trace_at

NUM_STEPS = 3
"""Most heaps that were measured grew in the first two or three steps, and little from then on."""
STORAGE_BYTES, TENSOR_BYTES, COUNTER_BYTES, AUTOGRAD_BYTES = 96, 176, 24, 184
"""c10::StorageImpl and TensorImpl, a version's counter, torch::autograd::AutogradMeta."""
NODE_BYTES = (600, 64, 16, 16)
"""A node of autograd's graph (kinds differ), its edges and two of its lists of sizes."""
WORKSPACE_WRITTEN = ((0.0, 0.22), (0.46, 0.84))
"""Of what an LSTM's layer keeps for its backward: 60 % in 8 cases, as /proc/self/pagemap says."""
PACKED_BYTES, PACKED_ROWS, PACKED_DEPTH = 34_000, 768, (256, 384)
"""What two threads of MKL pack the factors of an fp32 product into, as 62 shapes were measured to
need it: median error 1 %, 8 % in the 90th percentile."""
PRIMITIVE_BYTES = (824, 8, 56, 32)
NUM_PRIMITIVES = 6
"""Of 0 to 10 none suits 60 steps of random networks better by more than these differ when they are
measured twice."""
LIBRARIES_BYTES = 800_000
"""Beside the heap: a library's own pages. Median of 112 steps of random networks."""


def captured_heap_peak(graph: KernelGraph, batch_size: int, num_slots: int) -> int | None:
    """Return the anonymous memory of training a captured model, or None if that is not known.

    It is known of one whose blocks were told apart, where this machine's processes use glibc.

    Args:
        graph: The model.
        batch_size: Samples of a forward.
        num_slots: Values that the optimizer keeps for each parameter.
    """
    if graph.traces is None or not is_glibc():
        return None
    try:
        trace = trace_at(batch_size, graph.traces)
    except ValueError:  # it made other blocks at another batch size
        return None
    return heap_peak(trace, num_slots)


def heap_peak(trace: Trace, num_slots: int, num_steps: int = NUM_STEPS) -> int:
    """Return the anonymous memory of a process that trains some steps.

    Args:
        trace: Of one forward and backward at the batch size asked for.
        num_slots: Values that the optimizer keeps for each parameter; two are Adam's.
        num_steps: After so many the heap hardly grows.
    """
    play = _Play(Heap())
    for num_bytes in trace.weights_bytes:
        play.tensor(num_bytes, result=True)
    for num_bytes in trace.inputs_bytes:
        play.tensor(num_bytes)
    for step in range(num_steps):
        play.step(trace, first=step == 0)
        play.update(trace, num_slots, first=step == 0)
        play.end(trace)
    return play.heap.touched_bytes + LIBRARIES_BYTES


@dataclass
class _Play:
    """The blocks on a heap while steps are played through."""

    heap: Heap
    _blocks: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    _packed_bytes: int = 0

    def tensor(
        self,
        num_bytes: float,
        *,
        result: bool = False,
        written: Sequence[tuple[float, float]] = ((0.0, 1.0),),
    ) -> list[int]:
        """Take a tensor's data and objects; return their addresses as they are freed."""
        take = self.heap.take
        storage = take(STORAGE_BYTES)
        data = [self.heap.take_aligned(round(num_bytes), written)] if num_bytes else []
        tensor, counter = take(TENSOR_BYTES), take(COUNTER_BYTES)
        return [*data, counter, tensor, storage, *([take(AUTOGRAD_BYTES)] if result else [])]

    def step(self, trace: Trace, *, first: bool) -> None:
        """Forward and backward."""
        for event in trace.events:
            if event.what == "end":
                self._end(event.block)
            elif event.what == "packed":
                self._pack(event.sides)
            elif event.what != "kept" or first:
                self._blocks[event.block] = self._take(event)

    def update(self, trace: Trace, num_slots: int, *, first: bool) -> None:
        """The optimizer's states, which stay, and Adam's two temporaries for each weight.

        On a CPU torch's optimizers go from weight to weight, not over all at once.
        """
        is_adam = num_slots > 1
        for num_bytes, _ in trace.gradients if first else ():
            if is_adam:
                self.tensor(4)  # counts its steps
            for _ in range(num_slots):
                self.tensor(num_bytes)
        denominator: list[int] = []
        for num_bytes, _ in trace.gradients if is_adam else ():
            root, divided = self.tensor(num_bytes), self.tensor(num_bytes)
            self._free(root)
            self._free(denominator)
            denominator = divided
        self._free(denominator)

    def end(self, trace: Trace) -> None:
        """zero_grad sets gradients to None; then the loss goes, and with it the graph."""
        for _, block in trace.gradients:
            self._end(block)
        for block in trace.last:
            self._end(block)
        kept = {event.block for event in trace.events if event.what == "kept"}
        nodes = {event.block for event in trace.events if event.what == "node"}
        for block in [block for block in self._blocks if block not in kept and block not in nodes]:
            self._end(block)
        for block in [block for block in self._blocks if block in nodes]:
            self._end(block)

    def _take(self, event: Event) -> list[int]:
        heap = self.heap
        match event.what:
            case "tensor" | "result":
                return self.tensor(event.num_bytes, result=event.what == "result")
            case "workspace":
                return self.tensor(event.num_bytes, written=WORKSPACE_WRITTEN)
            case "view":
                sizes = (TENSOR_BYTES, COUNTER_BYTES, AUTOGRAD_BYTES)
                return [heap.take(num_bytes) for num_bytes in sizes]
            case "node":
                return [heap.take(num_bytes) for num_bytes in NODE_BYTES]
            case "kept":
                return [heap.take(round(event.num_bytes))]
            case _:
                return self._primitives()

    def _pack(self, sides: Sequence[float]) -> None:
        """MKL keeps the buffers of each product that needed larger ones than all before it."""
        m, k, n = sides
        low, high = PACKED_DEPTH
        needed = round(4 * (min(m, PACKED_ROWS) + n) * min(max(k, low), high)) + PACKED_BYTES
        if needed > self._packed_bytes:
            self.heap.take(needed)
            self._packed_bytes = needed

    def _primitives(self) -> list[int]:
        described, small, aligned, listed = PRIMITIVE_BYTES
        addresses: list[int] = []
        for _ in range(NUM_PRIMITIVES):
            addresses += [self.heap.take_aligned(described), self.heap.take(small)]
            addresses += [self.heap.take_aligned(aligned), self.heap.take(listed)]
        return addresses

    def _end(self, block: int) -> None:
        self._free(self._blocks.pop(block, []))

    def _free(self, addresses: Iterable[int]) -> None:
        for at in addresses:
            self.heap.give_back(at)
