"""Bytes that are alive while operations run, counted as torch's allocators hand them out."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor
from torch.utils._pytree import tree_flatten

BLOCK_BYTES = 512
"""Torch's allocators hand out multiples of this."""


class LiveBytes:
    """Bytes of the storages that were made since, and are still referred to."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self._seen: dict[int, Any] = {}

    def ignore(self, values: Any) -> None:
        """Do not count what was there before, such as weights."""
        for tensor in tensors_of(values):
            self._watch(tensor, 0)

    def see(self, values: Any) -> None:
        """Count the storages of a result that are new."""
        for tensor in tensors_of(values):
            self._watch(tensor, _rounded(tensor.untyped_storage().nbytes()))
        self.peak = max(self.peak, self.live)

    def _watch(self, tensor: Tensor, num_bytes: int) -> None:
        storage = tensor.untyped_storage()
        key = cast("int", storage._cdata)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if key in self._seen:
            return
        self.live += num_bytes

        def forget(_: Any) -> None:
            self.live -= num_bytes
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, forget)


def _rounded(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def tensors_of(values: Any) -> Iterator[Tensor]:
    """Return the tensors in nested lists, tuples and mappings."""
    return (leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor))
