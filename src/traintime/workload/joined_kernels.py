"""What share of a kernel's bytes is left where a compiler joins it with its neighbours.

Torch's compiler computes operations that hand values to each other in one kernel, as long as no
product lies between them: what one hands to the next is never written, and what several read is
read once. Forward and backward are compiled apart, the loss with them. What the forward would keep
for the backward alone is computed again there if that takes no product. What is not needed before
later products waits for them. Products are left to the libraries they are in.

Reference: Ansel et al. 2024 (PyTorch 2, sections 4.4 and 5: fusion and recomputation).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, UntypedStorage

from traintime.workload.kernels import Phase
from traintime.workload.live_bytes import address_of
from traintime.workload.op_rules import Counted, bytes_of, distinct_tensors

JOINED_KINDS = frozenset(
    {"batch norm", "layer norm", "softmax", "elementwise", "reduction", "copy", "lookup"}
)
"""Kinds that the compiler makes kernels of itself; pooling it computes apart."""
APART = frozenset(
    """
    bincount cumprod cumsum embedding_dense_backward _embedding_bag _embedding_bag_dense_backward
    histc index_add index_add_ index_copy_ index_put index_put_ _index_put_impl_ kthvalue
    logcumsumexp masked_select median multinomial nonzero randperm scatter_add scatter_add_ sort
    topk _unsafe_index_put
    """.split()  # noqa: SIM905 - as a list it fills the screen
)
"""Operations of those kinds that stay alone: they order values, or add to places that meet."""
TWO_PASSES = ("batch_norm", "group_norm", "norm_backward")
"""Parts of names of operations that sum over what they read before they read it again: what is made
for them in their kernel has to be written for the second time."""


@dataclass(slots=True, eq=False)
class _Value:
    """What one operation wrote into a storage; the next that writes there makes another.

    Args:
        maker: None of what was there before the step.
        num_bytes: Written by its maker.
        readers: Operations that read it.
    """

    maker: _Node | None = None
    num_bytes: float = 0.0
    readers: list[_Node] = field(default_factory=list["_Node"])


class _Read(NamedTuple):
    """A reading of a value, or of a part of it.

    Args:
        value: Read.
        num_bytes: That are read.
        offset: Where the part begins, in values of the storage.
    """

    value: _Value
    num_bytes: float = 0.0
    offset: int = 0


@dataclass(slots=True, eq=False)
class _Node:
    """A kernel, or what several of a product do together.

    Args:
        phase: Forward or backward.
        joins: Whether the compiler makes it.
        passes: Times that it reads what it reads.
        reads: Values, or parts of them.
        level: Products of its phase in turn before it.
        is_constant: Whether it depends on constants alone, so that it costs nothing where it is
            used.
        writes: What it makes.
        group: Another of its group; None of the one that stands for the group.
    """

    phase: Phase
    joins: bool
    passes: int
    reads: list[_Read]
    level: int
    is_constant: bool
    writes: list[_Value] = field(default_factory=list[_Value])
    group: _Node | None = None

    def root(self) -> _Node:
        """Return the node that stands for the group."""
        node = self
        while node.group:
            node = node.group
        return node

    def join(self, other: _Node) -> None:
        """Make one group of both theirs."""
        mine, others = self.root(), other.root()
        if mine is not others:
            mine.group = others

    def wait(self) -> None:
        """Come only when the first of the same phase needs it."""
        readers = (reader for value in self.writes for reader in value.readers)
        needed = [reader.level for reader in readers if reader.phase == self.phase]
        self.level = min(needed, default=self.level)


class KernelFlow:
    """Watches which kernel reads what another wrote."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[UntypedStorage], _Value]] = {}
        self._kernels: list[tuple[_Node, Counted]] = []

    def see(
        self, read: Sequence[Tensor], result: Any, kernels: Sequence[Counted], phase: Phase
    ) -> None:
        """Take in an operation that has run.

        Args:
            read: Tensors that it read.
            result: What it returned.
            kernels: That it launched; the bias of a convolution is the last.
            phase: In which it ran.
        """
        written = distinct_tensors(result)
        reads = [self._read(tensor) for tensor in read]
        # What is written in place, perhaps in part, waits for what was there.
        before = [value for tensor in written if (value := self._known_value(tensor))]
        main = [kernel for kernel in kernels if not kernel.op.endswith(".bias")]
        if main:
            node = _node(phase, [*reads, *map(_Read, before)], main[0])
            for tensor in written:
                self._write(node, tensor)
            self._kernels += [(node, kernel) for kernel in main]
        for kernel in kernels[len(main) :]:
            self._add_bias(kernel, reads, written, phase)

    def _add_bias(
        self, kernel: Counted, reads: Sequence[_Read], written: Sequence[Tensor], phase: Phase
    ) -> None:
        """Take in the pass that adds a convolution's bias, or sums its gradient."""
        adds = kernel.kind == "elementwise"
        node = _node(phase, [self._read(written[0]) if adds else reads[0]], kernel)
        if adds:
            self._write(node, written[0])
        self._kernels.append((node, kernel))

    def _write(self, node: _Node, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        value = _Value(node, bytes_of(tensor))
        self._known[address_of(storage)] = weakref.ref(storage), value
        node.writes.append(value)

    def _read(self, tensor: Tensor) -> _Read:
        value = self._known_value(tensor)
        if value is None:
            value, storage = _Value(), tensor.untyped_storage()
            self._known[address_of(storage)] = weakref.ref(storage), value
        return _Read(value, bytes_of(tensor), int(tensor.storage_offset()))

    def _known_value(self, tensor: Tensor) -> _Value | None:
        storage = tensor.untyped_storage()
        known = self._known.get(address_of(storage))
        return known[1] if known and known[0]() is storage else None

    def shares_left(self) -> Iterator[float]:
        """Return what share of its bytes each kernel still moves, in the order they were seen."""
        joined = [node for node in dict.fromkeys(n for n, _ in self._kernels) if node.joins]
        for node in reversed(joined):
            node.wait()
        for node in joined:
            # At another level a product may lie between them.
            here = node.phase, node.level
            for maker in (read.value.maker for read in node.reads):
                if maker and maker.joins and (maker.phase, maker.level) == here:
                    node.join(maker)
        there: dict[tuple[_Node, _Value, int], float] = {}
        for node, kernel in self._kernels:
            num_bytes = node.passes * kernel.bytes_read + kernel.bytes_written
            if not node.joins or not num_bytes:
                yield 1.0
                continue
            read = sum(_bytes_there(node, read, there) for read in node.reads)
            written = sum(value.num_bytes for value in node.writes if _is_inside(node, value))
            spared = min(read, kernel.bytes_read) + min(written, kernel.bytes_written)
            yield 1.0 - spared / num_bytes


def _node(phase: Phase, reads: list[_Read], kernel: Counted) -> _Node:
    name = kernel.op.rpartition(".")[2]
    joins = kernel.kind in JOINED_KINDS and name not in APART
    makers = [read.value.maker for read in reads]
    ready = [m.level + (not m.joins) for m in makers if m and m.phase == phase]
    node = _Node(
        phase,
        joins,
        passes=2 if any(part in name for part in TWO_PASSES) else 1,
        reads=reads,
        level=max(ready, default=0),
        is_constant=joins and all(maker and maker.is_constant for maker in makers),
    )
    for read in reads:
        read.value.readers.append(node)
    return node


def _bytes_there(node: _Node, read: _Read, there: dict[tuple[_Node, _Value, int], float]) -> float:
    """Return what of a reading another kernel of the group has, and note what this one has now."""
    group, maker = node.root(), read.value.maker
    if maker and maker.is_constant:
        return read.num_bytes
    if maker and maker.root() is group:
        return min(read.num_bytes, read.value.num_bytes)
    key = group, read.value, read.offset
    before = there.get(key, 0.0)
    there[key] = max(before, read.num_bytes)
    return min(before, read.num_bytes)


def _is_inside(node: _Node, value: _Value) -> bool:
    """Say whether a value is used within its kernel alone, or computed again in the backward."""
    group = node.root()
    return bool(value.readers) and all(
        reader.joins
        and (
            node.is_constant
            or reader.phase != node.phase
            or (reader.root() is group and reader.passes == 1)
        )
        for reader in value.readers
    )
