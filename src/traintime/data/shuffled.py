"""The order of training samples, whichever way their images come to the device."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from math import ceil

import torch
from torch import Generator, Tensor

from traintime.data.augment import Augmentation

Batch = tuple[Tensor, Tensor]


class ShuffledBatches(ABC):
    """Shuffled, augmented batches for training.

    Args:
        labels: int64, (N,), on the device.
        batch_size: Samples per batch; the last of an epoch may be smaller.
        augmentation: Applied to normalised images, or None.
        seed: Decides the order of every epoch, and the augmentation's first state.
    """

    def __init__(
        self, labels: Tensor, batch_size: int, augmentation: Augmentation | None, seed: int
    ) -> None:
        self._all_labels = labels
        self._batch_size = batch_size
        self._seed = seed
        self._augmentation = augmentation
        self._device = labels.device  # with its index: "cuda" has become "cuda:0"
        self._order = Generator(self._device)
        self._augmenting = Generator(self._device)
        self.begin_again()
        self.steps_per_epoch = ceil(len(labels) / batch_size)
        self.start_epoch(0)

    def begin_again(self) -> None:
        """Augment as at the beginning."""
        self._augmenting.manual_seed(_mixed(self._seed, "augmentation"))

    def start_epoch(self, epoch: int) -> None:
        """Shuffle. The order depends on the seed and the epoch alone, so it can be had again."""
        self._order.manual_seed(_mixed(self._seed, epoch))
        order = torch.randperm(len(self._all_labels), generator=self._order, device=self._device)
        self._batches = cut(order, self._batch_size)
        self._labels = cut(self._all_labels.index_select(0, order), self._batch_size)

    @abstractmethod
    def batch(self, i: int) -> Batch:
        """Return batch `i` of the epoch: images (B, C, H, W) and labels int64 (B,)."""

    def state(self) -> Tensor:
        """Return the state of the augmentation, uint8 on the CPU, for a checkpoint."""
        return self._augmenting.get_state()

    def set_state(self, state: Tensor) -> None:
        """Go on augmenting from a state that `state` returned."""
        self._augmenting.set_state(state)


def cut(values: Tensor, size: int) -> list[Tensor]:
    """Return values (N, ...) in parts of a size; the last may be smaller."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def _mixed(seed: int, part: int | str) -> int:
    """Return a seed of 63 bits that shares none of its bits with that of another part or seed.

    The CPU's generator uses the low 32 bits alone, so they must depend on everything.
    """
    digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
