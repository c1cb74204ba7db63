"""Which blocks of memory an operation takes on a CPU: its results, and what it needs meanwhile.

oneDNN copies images and weights into blocks of channels, keeps code and buffers for every shape it
has seen, and an LSTM's layer keeps a workspace that fake tensors say nothing of.

References:
    Sizes were read from all calls of malloc in steps of random networks (calibration/cpu_steps.py),
    torch 2.13 on x86-64 with AVX-512.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from traintime.workload.kernels import Phase
from traintime.workload.step_blocks import Event, What


@dataclass(frozen=True)
class Call:
    """One operation, as far as its temporaries depend on it.

    Args:
        name: Without namespace and overload, such as "convolution".
        phase: Nodes are made in the forward.
        shapes: Of the tensors it takes, in order.
        item_bytes: Of an element of the first of floating point; 0 if there is none.
        groups: Of a convolution.
        input_gradient: Whether a convolution's backward makes its input's.
    """

    name: str
    phase: Phase
    shapes: tuple[tuple[int, ...], ...] = ()
    item_bytes: int = 4
    groups: int = 1
    input_gradient: bool = True


def true_bytes(call: Call, new_bytes: Sequence[int]) -> list[int]:
    """Return the sizes of an operation's new storages, where fake tensors say nothing of one.

    That is what a layer of an LSTM keeps for its backward: gates, states and room for their
    gradients, measured at 2 × 12 sizes: within 3 %.

    Args:
        call: The operation.
        new_bytes: As its result has them.
    """
    if call.name != "mkldnn_rnn_layer" or not new_bytes or new_bytes[-1]:
        return list(new_bytes)
    (steps, samples, into), units = call.shapes[0], call.shapes[2][1]
    wider = max(into, units)
    each = 36.5 * units + 24.5 * wider if call.item_bytes == 4 else 22 * units + 21 * wider
    return [*new_bytes[:-1], round((steps + 1) * samples * each)]


@dataclass
class Recording:
    """Writes a trace down while a step runs."""

    events: list[Event] = field(default_factory=list[Event])
    _num_blocks: int = 0
    _known: set[tuple[str, tuple[tuple[int, ...], ...]]] = field(default_factory=set)

    def operation(self, call: Call, new_bytes: Sequence[int]) -> list[int]:
        """Write down an operation and what it takes meanwhile; return its results' numbers.

        Args:
            call: The operation.
            new_bytes: Of the storages that its results are the first to use, in order.
        """
        self._kept(call)
        if call.phase == "forward" and call.name not in WITHOUT_NODE:
            self._make("node")
        match call.name:
            case "convolution":
                return self._convolution(call, new_bytes)
            case "convolution_backward":
                return self._convolution_backward(call, new_bytes)
            case "mkldnn_rnn_layer" if new_bytes:
                made = self._results(call, new_bytes[:-1])
                made.append(self._make("workspace", new_bytes[-1]))
                self._recurrent(call, copies=1)
                return made
            case "mkldnn_rnn_layer_backward":
                made = self._results(call, new_bytes)
                self._recurrent(call, copies=2)
                return made
            case "embedding_dense_backward":
                self.end(self._make("tensor", prod(call.shapes[0]) * call.item_bytes))
            case "native_batch_norm_backward" if new_bytes:
                first = self._results(call, new_bytes[:1])
                self.end(self._make("tensor", new_bytes[0]))
                return first + self._results(call, new_bytes[1:])
            case _:
                pass
        return self._results(call, new_bytes)

    def view(self) -> int:
        """Write down another tensor that looks at a storage; return its number."""
        return self._make("view")

    def end(self, block: int) -> None:
        """Write down that nothing refers to a block any more."""
        self.events.append(Event("end", block))

    def sort_last_ends(self) -> None:
        """Put the ends since the last block came in the order in which the blocks came.

        Autocast lets go of its copies of weights in an order that depends on their addresses, which
        differs from run to run.
        """
        first = next((i for i in range(len(self.events), 0, -1) if _is_made(self.events[i - 1])), 0)
        self.events[first:] = sorted(self.events[first:], key=lambda event: event.block)

    def _make(self, what: What, num_bytes: float = 0.0) -> int:
        self._num_blocks += 1
        self.events.append(Event(what, self._num_blocks, num_bytes))
        return self._num_blocks

    def _results(self, call: Call, new_bytes: Iterable[int]) -> list[int]:
        what = "result" if call.phase == "forward" else "tensor"
        return [self._make(what, num_bytes) for num_bytes in new_bytes]

    def _meanwhile(self, call: Call, sizes: Iterable[float], new_bytes: Iterable[int]) -> list[int]:
        """Make results while temporaries are there."""
        blocks = [self._make("primitives"), *(self._make("tensor", one) for one in sizes)]
        made = self._results(call, new_bytes)
        for block in blocks:
            self.end(block)
        return made

    def _convolution(self, call: Call, new_bytes: Sequence[int]) -> list[int]:
        if _as_products(call):
            return self._results(call, new_bytes)
        image, weight = call.shapes[:2]
        sizes: list[float] = []
        if call.item_bytes == 2 and set(weight[2:]) == {1}:
            sizes.append(2 * prod(image[2:]) * weight[0] * 4)  # sums of two threads, in fp32
        if image[1] >= BLOCK_CHANNELS:
            sizes.append(_blocked_bytes(call, image))
        weight_bytes = call.item_bytes * prod(weight)
        if call.groups == 1 and weight[1] > 3:
            weight_bytes *= _blocked(weight[0]) * _blocked(weight[1]) / (weight[0] * weight[1])
        if weight_bytes > COPIED_ABOVE_BYTES:
            sizes.append(weight_bytes)
        sizes.append(sum(new_bytes) * _blocked(weight[0]) / weight[0])
        return self._meanwhile(call, sizes, new_bytes)

    def _convolution_backward(self, call: Call, new_bytes: Sequence[int]) -> list[int]:
        if _as_products(call):
            return self._results(call, new_bytes)
        gradient, image, weight = call.shapes[:3]
        sizes = [_blocked_bytes(call, gradient), call.item_bytes * prod(weight)]
        narrow = image[1] < BLOCK_CHANNELS
        sizes.append(call.item_bytes * prod(image) if narrow else _blocked_bytes(call, image))
        made: list[int] = []
        if call.input_gradient:
            made += self._meanwhile(call, sizes, new_bytes[:1])
        rest = new_bytes[len(made) :]
        if not (call.item_bytes == 2 and _few_channels(call, weight)):
            made += self._meanwhile(call, (sizes[0], sizes[2], sizes[1]), rest[:1])
        return made + self._results(call, new_bytes[len(made) :])

    def _recurrent(self, call: Call, copies: int) -> None:
        """Weights once or twice in oneDNN's order, and the sums of all gates in fp32."""
        (steps, samples, _), into, across = call.shapes[:3]
        weights = [prod(into) * call.item_bytes, prod(across) * call.item_bytes]
        self._meanwhile(call, [*copies * weights, 16 * steps * samples * across[1]], [])

    def _kept(self, call: Call) -> None:
        """What libraries keep: code and buffers for each new shape, or for the first product."""
        half = call.item_bytes == 2
        if call.name in PRODUCTS and not half:
            key, sizes = ("products", ()), (1_300_000, 1_300_000)
        elif call.name in PRODUCTS:
            key, sizes = (call.name, call.shapes), (258_376,)
        elif call.name.startswith("convolution"):
            times = 4 if call.name == "convolution" else 8
            key, sizes = (call.name, call.shapes), times * (19_696,)
        else:
            return
        if key not in self._known:
            self._known.add(key)
            for size in sizes:
                self._make("kept", size)


def _is_made(event: Event) -> bool:
    return event.what != "end"


WITHOUT_NODE = frozenset({"detach", "empty", "zeros"})
PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm"})
COPIED_ABOVE_BYTES = 4096
"""Weights below it fit into what a convolution works in anyway."""
BLOCK_CHANNELS = 16
"""oneDNN keeps images in blocks of so many channels where the processor has AVX-512."""


def _blocked(channels: int) -> int:
    return -(-channels // BLOCK_CHANNELS) * BLOCK_CHANNELS


def _blocked_bytes(call: Call, image: tuple[int, ...]) -> float:
    return call.item_bytes * prod(image) / image[1] * _blocked(image[1])


def _as_products(call: Call) -> bool:
    """Groups of few channels are computed as matrix products, in small buffers."""
    if call.groups == 1:
        return False
    weight = call.shapes[1 if call.name == "convolution" else 2]
    return weight[1] > 1 and (weight[1] % 8 != 0 or weight[0] // call.groups % 8 != 0)


def _few_channels(call: Call, weight: tuple[int, ...]) -> bool:
    """Then the gradient of a bf16 weight is a matrix product."""
    few = min(weight[1], weight[0] // call.groups) < BLOCK_CHANNELS
    return few or (call.groups > 1 and weight[1] % BLOCK_CHANNELS != 0)
