"""Bytes that are alive while operations run, counted as torch's allocators hand them out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import Tensor, UntypedStorage
from torch.utils._pytree import tree_flatten

BLOCK_BYTES = 512
"""Torch's allocators hand out multiples of this."""


class LiveBytes:
    """Bytes of the storages that were made since, and are still referred to.

    They are counted as the allocator hands them out, and as what was asked for.
    """

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.data = 0
        self._most_data = 0
        self._seen: dict[int, tuple[weakref.ref[UntypedStorage], Callable[[], None]]] = {}

    def ignore(self, values: Any) -> None:
        """Do not count what was there before, such as weights."""
        for tensor in self.unseen(values):
            self.watch(tensor, 0)

    def see(self, values: Any) -> None:
        """Count the storages of a result that are new."""
        for tensor in self.unseen(values):
            self.watch(tensor, tensor.untyped_storage().nbytes())

    def unseen(self, values: Any) -> list[Tensor]:
        """Return the first tensor on each storage that is not watched yet, in order."""
        found: dict[int, Tensor] = {}
        for tensor in tensors_of(values):
            storage = tensor.untyped_storage()
            key = address_of(storage)
            known = self._seen.get(key)
            if known is None or known[0]() is not storage:
                found.setdefault(key, tensor)
        return list(found.values())

    def watch(
        self, tensor: Tensor, num_bytes: int, ended: Callable[[], None] = lambda: None
    ) -> None:
        """Count a storage until nothing refers to it any more.

        Args:
            tensor: On a storage that is not watched yet.
            num_bytes: As asked for; counted as handed out.
            ended: Called when it is gone.
        """
        storage = tensor.untyped_storage()
        key, rounded = address_of(storage), -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES
        if key in self._seen:  # another was there, so it has ended
            _, forget_it = self._seen[key]
            forget_it()
        self.live += rounded
        self.peak = max(self.peak, self.live)
        self.data += num_bytes
        self._most_data = max(self._most_data, self.data)

        def forget() -> None:
            self.live -= rounded
            self.data -= num_bytes
            del self._seen[key]
            ended()

        self._seen[key] = weakref.ref(storage, lambda _: forget()), forget

    def most_data_since(self) -> int:
        """Return the most that was alive at once since this was last asked, as asked for."""
        most, self._most_data = self._most_data, self.data
        return most


def address_of(storage: UntypedStorage) -> int:
    """Return what tells a storage from all others that are alive."""
    return cast("int", storage._cdata)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def tensors_of(values: Any) -> Iterator[Tensor]:
    """Return the tensors in nested lists, tuples and mappings."""
    return (leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor))
