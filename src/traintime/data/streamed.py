"""Batches of images that stay on the disk: the same, bit for bit, as of those in memory.

The order, the arithmetic and the random states are those of `resident`; only the gather is done
elsewhere (`gather`), ahead of the step, and a batch is copied to the device when it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from traintime.data.augment import Augmentation
from traintime.data.draw import Rows
from traintime.data.pixel_scale import PixelScale
from traintime.data.prepare import StoredSamples
from traintime.data.shuffled import Batch, ShuffledBatches

if TYPE_CHECKING:  # it needs PIL, and other data do not
    from traintime.data.gather import Gatherer


class Streamed:
    """Samples on their way to a device.

    Args:
        samples: Where they are.
        gatherer: Gathers their batches.
        device: Where they go.
        mean: (C,), subtracted from pixels on a scale of 0 to 1.
        std: (C,), what they are divided by afterwards.
        dtype: Of the normalised images.
        memory_format: Of the normalised images.

    Attributes:
        labels: On the device.
        scale: Normalises the images.
    """

    def __init__(
        self,
        samples: StoredSamples,
        gatherer: Gatherer,
        device: torch.device | str,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.labels = samples.labels.to(device)
        self.scale = PixelScale(samples.store.shape, device, mean, std, dtype, memory_format)
        self._rows_of_store, self._gatherer = samples.rows, gatherer

    def plan(self, batches: list[Rows]) -> None:
        """Take up which batches will be wanted: rows of the samples."""
        self._gatherer.plan([self._rows_of_store[rows] for rows in batches])

    def rows(self, i: int) -> Tensor:
        """Return batch `i` of the plan on the device, as rows of uint8, (B, H*W*C)."""
        images = torch.from_numpy(self._gatherer.batch(i))
        device = self.labels.device
        if device.type == "cuda":
            # A copy in pinned memory is read by the GPU while this thread goes on.
            images = images.pin_memory().to(device, non_blocking=True)
        return self.scale.rows(images)


class StreamedBatches(ShuffledBatches):
    """Shuffled, augmented batches for training, of samples that are not in memory.

    Args:
        streamed: The training part.
        batch_size: Samples per batch; the last of an epoch may be smaller.
        augmentation: Applied to normalised images, or None.
        seed: Decides the order of every epoch, and the augmentation's first state.
    """

    def __init__(
        self, streamed: Streamed, batch_size: int, augmentation: Augmentation | None, seed: int
    ) -> None:
        self._streamed = streamed
        super().__init__(streamed.labels, batch_size, augmentation, seed)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle, and plan the epoch's batches."""
        super().start_epoch(epoch)
        self._streamed.plan([index.cpu().numpy() for index in self._batches])

    def batch(self, i: int) -> Batch:
        """Return batch `i` of the epoch: images (B, C, H, W) and labels int64 (B,)."""
        images = self._streamed.scale.normalised(self._streamed.rows(i))
        if self._augmentation is not None:
            images = self._augmentation(images, self._augmenting)
        return images, self._labels[i]


class StreamedInOrder:
    """Batches in the order of the samples, as they are, for evaluation; may be gone through often.

    Args:
        streamed: Where the batches come from.
        batch_size: Samples per batch; the last may be smaller.
        most_at_once: Samples that are gathered together.
    """

    def __init__(self, streamed: Streamed, batch_size: int, most_at_once: int) -> None:
        self._streamed = streamed
        self._batch_size, self._most = batch_size, most_at_once

    def in_batches_of(self, batch_size: int) -> StreamedInOrder:
        """Return the same samples in batches of another size."""
        return StreamedInOrder(self._streamed, batch_size, self._most)

    def __len__(self) -> int:
        return ceil(len(self._streamed.labels) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        labels = self._streamed.labels
        batches = _parts(np.arange(len(labels)), self._batch_size)
        pieces = [_parts(batch, self._most) for batch in batches]
        self._streamed.plan([piece for batch in pieces for piece in batch])
        numbers = count()
        for batch, of_batch in zip(batches, pieces, strict=True):
            # Copies, as the memory that a piece was gathered in is used for another one.
            rows = [self._streamed.rows(next(numbers)).clone() for _ in of_batch]
            images = self._streamed.scale.normalised(torch.cat(rows))
            yield images, labels[int(batch[0]) : int(batch[-1]) + 1]


def _parts(rows: Rows, size: int) -> list[Rows]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
