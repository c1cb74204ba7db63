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
    _sum: tuple[int, int, int] | None = None
    _same: dict[int, int] = field(default_factory=dict[int, int])

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

    def summed(self, term: int, total: int) -> None:
        """Write down that the block made last is the sum of another and something else.

        Autograd adds gradients in place where nothing else refers to the first, and a linear layer
        its bias; fake tensors are always added out of place. So if the term ends before another
        block is made, it was the sum's block all along.

        Args:
            term: The block of what was there.
            total: The sum's.
        """
        self._sum = (term, total, len(self.events) - 1)

    def block_of(self, number: int) -> int:
        """Return the block that a result's number stands for."""
        return self._same.get(number, number)

    def end(self, number: int) -> None:
        """Write down that nothing refers to a block any more."""
        block = self.block_of(number)
        if self._sum and self._sum[0] == number:
            _, total, made_at = self._sum
            del self.events[made_at]
            self._same[total] = block
            self._sum = None
        else:
            self.events.append(Event("end", block))

    def sort_last_ends(self) -> None:
        """Put the ends since the last block came in the order in which the blocks came.

        Autocast lets go of its copies of weights in an order that depends on their addresses, which
        differs from run to run.
        """
        first = next((i for i in range(len(self.events), 0, -1) if _is_made(self.events[i - 1])), 0)
        self.events[first:] = sorted(self.events[first:], key=lambda event: event.block)

    def _make(self, what: What, num_bytes: float = 0.0, sides: tuple[int, ...] = ()) -> int:
        self._num_blocks += 1
        self._sum = None
        self.events.append(Event(what, self._num_blocks, num_bytes, sides))
        return self._num_blocks

    def _results(self, call: Call, new_bytes: Iterable[int]) -> list[int]:
        what = "result" if call.phase == "forward" else "tensor"
        return [self._make(what, num_bytes) for num_bytes in new_bytes]

    def _meanwhile(
        self, call: Call, sizes: Iterable[float], into: float = 0.0, new_bytes: Iterable[int] = ()
    ) -> list[int]:
        """Make results that oneDNN computes in an order of its own and torch then copies.

        What it needs to compute is gone before the copy is made, so the copy finds its place.

        Args:
            call: The operation.
            sizes: Of what it reads, in its order.
            into: Of what it writes, in its order; 0 if it writes into place.
            new_bytes: Of the results.
        """
        blocks = [self._make("primitives"), *(self._make("tensor", one) for one in sizes)]
        computed = [self._make("tensor", into)] if into else []
        for block in blocks:
            self.end(block)
        made = self._results(call, new_bytes)
        for block in computed:
            self.end(block)
        return made

    def _convolution(self, call: Call, new_bytes: Sequence[int]) -> list[int]:
        if _as_products(call):
            return self._results(call, new_bytes)
        image, weight = call.shapes[:2]
        sizes: list[float] = []
        if call.item_bytes == 2 and set(weight[2:]) == {1}:
            sizes.append(2 * prod(image[2:]) * weight[0] * 4)  # sums of two threads, in fp32
        narrow = image[1] < BLOCK_CHANNELS
        if not narrow:
            sizes.append(_blocked_bytes(call, image))
        weight_bytes = _blocked_weight_bytes(call, weight, narrow=narrow)
        if weight_bytes > COPIED_ABOVE_BYTES:
            sizes.append(weight_bytes)
        into = sum(new_bytes) * _blocked(weight[0]) / weight[0]
        return self._meanwhile(call, sizes, into, new_bytes)

    def _convolution_backward(self, call: Call, new_bytes: Sequence[int]) -> list[int]:
        if _as_products(call):
            return self._results(call, new_bytes)
        gradient, image, weight = (
            _blocked_bytes(call, call.shapes[0]),
            _blocked_bytes(call, call.shapes[1]),
            _blocked_weight_bytes(call, call.shapes[2]),
        )
        made: list[int] = []
        if call.input_gradient:
            made += self._meanwhile(call, (gradient, weight), image, new_bytes[:1])
        rest = new_bytes[len(made) :]
        if not _weight_as_product(call):
            sizes = [gradient, image] if _copies_image(call) else [gradient]
            made += self._meanwhile(call, sizes, weight, rest[:1])
        return made + self._results(call, new_bytes[len(made) :])

    def _recurrent(self, call: Call, copies: int) -> None:
        """Weights once or twice in oneDNN's order, and the sums of all gates in fp32."""
        (steps, samples, _), into, across = call.shapes[:3]
        weights = [prod(into) * call.item_bytes, prod(across) * call.item_bytes]
        self._meanwhile(call, [*copies * weights, 16 * steps * samples * across[1]])

    def _kept(self, call: Call) -> None:
        """What libraries keep: code and buffers for each new shape, or for the largest product."""
        if call.name in PRODUCTS and call.item_bytes == 4:
            *_, left, right = call.shapes
            self._make("packed", sides=(*left[-2:], right[-1]))
        elif call.name in PRODUCTS and call.item_bytes == 2:
            self._keep(call, (2 * DESCRIPTOR_BYTES,))
        elif call.name.startswith(ATTENTION) and call.item_bytes == 2:
            products = 2 if call.phase == "forward" else 4
            self._keep(call, (2 * products * DESCRIPTOR_BYTES,))
        elif call.name.startswith("convolution"):
            self._keep(call, (4 if call.name == "convolution" else 8) * (19_696,))

    def _keep(self, call: Call, sizes: Iterable[float]) -> None:
        """Number what stays apart: at one batch size, two shapes may happen to be the same."""
        key = (call.name, call.shapes)
        if key not in self._known:
            self._known.add(key)
            self.events.extend(Event("kept", -len(self._known), size) for size in sizes)


def _is_made(event: Event) -> bool:
    return event.what != "end"


WITHOUT_NODE = frozenset({"detach", "empty", "zeros"})
PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm"})
DESCRIPTOR_BYTES = 258_376
"""Of oneDNN's description of a bf16 product, which its primitive copies."""
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
COPIED_ABOVE_BYTES = 4096
"""Weights below it fit into what a convolution works in anyway."""
BLOCK_CHANNELS = 16
"""oneDNN keeps images in blocks of so many channels where the processor has AVX-512."""
PLAIN_CHANNELS = 3
"""An image of so few is read as it is for its weight's gradient."""


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


def _blocked_weight_bytes(call: Call, weight: tuple[int, ...], *, narrow: bool = False) -> float:
    """Return the bytes of a weight whose channels are padded to whole blocks.

    Those of groups are not, nor the ones that are read where an image has too few for a block.
    """
    num_bytes = float(call.item_bytes * prod(weight))
    if call.groups > 1:
        return num_bytes
    into = weight[1] if narrow else _blocked(weight[1])
    return num_bytes * into / weight[1] * _blocked(weight[0]) / weight[0]


def _copies_image(call: Call) -> bool:
    """Say whether a weight's gradient is computed from a copy of the image in blocks."""
    channels = call.shapes[1][1]
    return channels >= BLOCK_CHANNELS or (call.item_bytes == 4 and channels > PLAIN_CHANNELS)


def _weight_as_product(call: Call) -> bool:
    """Say whether the gradient of a bf16 weight is a matrix product."""
    weight = call.shapes[2]
    if call.item_bytes != 2:
        return False
    if call.groups > 1:
        few = min(weight[1], weight[0] // call.groups) < BLOCK_CHANNELS
        return few or weight[1] % BLOCK_CHANNELS != 0
    return weight[1] <= PLAIN_CHANNELS and weight[0] % BLOCK_CHANNELS != 0
