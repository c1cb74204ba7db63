"""What of a kernel's traffic is left where a compiler joins it with its neighbours.

Torch's compiler computes operations that hand values to each other in one kernel, as long as no
product lies between them: what one hands to the next is never written, and what several read is
read once. Forward and backward are compiled apart. What the forward would keep for the backward is
computed again there if that takes no product. Products are left to the libraries they are in.
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
"""Kinds that the compiler makes kernels of itself; it computes windows apart, and sorts."""
APART = frozenset({"cumsum", "sort", "topk"})
TWO_PASSES = ("batch_norm", "group_norm", "norm_backward")
"""Parts of names of operations that sum over what they read before they read it again."""


@dataclass(slots=True, eq=False)
class _Value:
    """What one operation wrote into a storage; the next that writes there makes another.

    Args:
        maker: None of what was there before the step.
        ready: Products in turn before it can be read.
        readers: Operations that read it.
    """

    maker: _Node | None = None
    ready: int = 0
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
        writes: Bytes of each value that it makes.
        level: Products in turn before it.
        group: What tells its group, a node of it; itself if it is one alone.
    """

    phase: Phase
    joins: bool
    passes: int
    reads: list[_Read]
    writes: list[tuple[_Value, float]] = field(default_factory=list[tuple[_Value, float]])
    level: int = 0
    group: _Node | None = None

    @property
    def is_constant(self) -> bool:
        """Whether it depends on nothing, so that it costs nothing where it is used."""
        return self.joins and not self.reads

    def root(self) -> _Node:
        """Return the node that stands for the group."""
        node = self
        while node.group:
            node = node.group
        return node

    def may_join(self, reader: _Node) -> bool:
        """Say whether what reads it can be one kernel with it: no product lies between them."""
        return self.joins and (self.phase, self.level) == (reader.phase, reader.level)

    def join(self, other: _Node) -> None:
        """Make one group of both theirs."""
        mine, others = self.root(), other.root()
        if mine is not others:
            mine.group = others


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
            kernels: That it launched.
            phase: In which it ran.
        """
        first, written = kernels[0], distinct_tensors(result)
        reads = [self._read(tensor) for tensor in read]
        # What is written in place, perhaps in part, waits for what was there.
        before = [value for tensor in written if (value := self._known_value(tensor))]
        reads += [_Read(value) for value in before]
        node = self._node(phase, reads, first)
        for tensor in written:
            self._write(node, tensor)
        for kernel in kernels:
            if kernel.op.endswith(".bias") and not node.joins:
                self._add_bias(kernel, reads, written, phase)
            else:
                self._kernels.append((node, kernel))

    def _add_bias(
        self,
        kernel: Counted,
        reads: Sequence[_Read],
        written: Sequence[Tensor],
        phase: Phase,
    ) -> None:
        """Take in the pass that adds a convolution's bias, or sums its gradient."""
        adds = kernel.kind == "elementwise"
        of = self._read(written[0]) if adds else reads[0]
        node = self._node(phase, [of], kernel)
        if adds:
            self._write(node, written[0])
        self._kernels.append((node, kernel))

    def _node(self, phase: Phase, reads: list[_Read], kernel: Counted) -> _Node:
        name = kernel.op.rpartition(".")[2]
        joins = kernel.kind in JOINED_KINDS and name not in APART
        passes = 2 if any(part in name for part in TWO_PASSES) else 1
        node = _Node(phase, joins, passes, reads)
        node.level = max((read.value.ready for read in reads), default=0)
        for read in reads:
            read.value.readers.append(node)
            maker = read.value.maker
            if joins and maker and maker.may_join(node):
                node.join(maker)
        return node

    def _write(self, node: _Node, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        value = _Value(node, node.level + (not node.joins))
        self._known[address_of(storage)] = weakref.ref(storage), value
        node.writes.append((value, bytes_of(tensor)))

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

    def shares(self) -> Iterator[float]:
        """Return what share of its bytes each kernel still moves, in the order they were seen."""
        there: set[tuple[int, int, int]] = set()
        for node, kernel in self._kernels:
            num_bytes = node.passes * kernel.bytes_read + kernel.bytes_written
            if not node.joins or not num_bytes:
                yield 1.0
                continue
            spared = sum(read.num_bytes for read in node.reads if _is_there(node, read, there))
            spared += sum(size for value, size in node.writes if _is_never_written(node, value))
            yield max(0.0, 1.0 - spared / num_bytes)


def _is_there(node: _Node, read: _Read, there: set[tuple[int, int, int]]) -> bool:
    """Say whether another kernel of the group has a value, and note that this one has it now."""
    group, maker = node.root(), read.value.maker
    if maker and (maker.is_constant or maker.root() is group):
        return True
    key = id(group), id(read.value), read.offset
    is_there = key in there
    there.add(key)
    return is_there


def _is_never_written(node: _Node, value: _Value) -> bool:
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
