"""Batches of a data set that lives on the device as a whole, one byte per pixel and channel.

Nothing is copied from the host while training. A batch costs one gather and one fused
multiply-add, which converts and normalises at once. Rows of a table are there as they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

import torch
from torch import Tensor

from traintime.data.augment import Augmentation
from traintime.data.pixel_scale import PixelScale
from traintime.data.prepare import Samples, TableSamples
from traintime.data.shuffled import Batch, ShuffledBatches


class ResidentSamples:
    """Images or rows of a table on a device, in the memory format that a network wants them in.

    Args:
        samples: What to place there; the scale and the memory format are for images.
        device: Where.
        mean: (C,), subtracted from pixels on a scale of 0 to 1.
        std: (C,), what they are divided by afterwards.
        dtype: Of the normalised images.
        memory_format: `torch.channels_last` or `torch.contiguous_format`.
    """

    def __init__(
        self,
        samples: Samples | TableSamples,
        device: torch.device | str,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        if isinstance(samples, TableSamples):
            self._normalised: Callable[[Tensor], Tensor] = lambda rows: rows.to(dtype)
            self._rows = samples.features.to(device)  # (N, F)
        else:
            shape = tuple(samples.images.shape[1:])
            scale = PixelScale(shape, device, mean, std, dtype, memory_format)
            self._normalised = scale.normalised
            self._rows = scale.rows(samples.images.to(device))  # (N, H*W*C) uint8
        self.labels = samples.labels.to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, index: Tensor) -> Tensor:
        """Return the normalised images (B, C, H, W), or features (B, F), of some rows.

        Args:
            index: int64, (B,), on the same device.
        """
        return self._normalised(self._rows.index_select(0, index))

    def between(self, start: int, stop: int) -> Tensor:
        """Return the normalised images (B, C, H, W) of the rows from `start` up to `stop`."""
        return self._normalised(self._rows[start:stop])


class ResidentBatches(ShuffledBatches):
    """Shuffled, augmented batches for training.

    Args:
        samples: The training part.
        batch_size: Samples per batch; the last of an epoch may be smaller.
        device: Where it lives.
        mean: (C,), on a scale of 0 to 1.
        std: (C,).
        dtype: Of the images of a batch.
        memory_format: Of the images of a batch.
        augmentation: Applied to normalised images, or None.
        seed: Decides the order of every epoch, and the augmentation's first state.
    """

    def __init__(
        self,
        samples: Samples | TableSamples,
        batch_size: int,
        device: torch.device | str,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self._images = ResidentSamples(samples, device, mean, std, dtype, memory_format)
        super().__init__(self._images.labels, batch_size, augmentation, seed)

    def batch(self, i: int) -> Batch:
        """Return batch `i` of the epoch: images (B, C, H, W) and labels int64 (B,)."""
        images = self._images.at(self._batches[i])
        if self._augmentation is not None:
            images = self._augmentation(images, self._augmenting)
        return images, self._labels[i]


class OrderedBatches:
    """Batches in the order of the samples, as they are, for evaluation; may be gone through often.

    Args:
        images: Where the batches come from.
        batch_size: Samples per batch; the last may be smaller.
    """

    def __init__(self, images: ResidentSamples, batch_size: int) -> None:
        self._images = images
        self._batch_size = batch_size

    def in_batches_of(self, batch_size: int) -> OrderedBatches:
        """Return the same samples in batches of another size."""
        return OrderedBatches(self._images, batch_size)

    def __len__(self) -> int:
        return ceil(len(self._images) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._images), self._batch_size):
            stop = start + self._batch_size
            yield self._images.between(start, stop), self._images.labels[start:stop]


def in_order(
    samples: Samples | TableSamples,
    batch_size: int,
    device: torch.device | str,
    mean: Tensor,
    std: Tensor,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> OrderedBatches:
    """Place samples on a device and return them in batches, neither shuffled nor augmented."""
    images = ResidentSamples(samples, device, mean, std, dtype, memory_format)
    return OrderedBatches(images, batch_size)
