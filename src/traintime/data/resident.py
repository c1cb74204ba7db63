"""Batches of a data set that lives on the device as a whole, one byte per pixel and channel.

Nothing is copied from the host while training. A batch costs one gather and one fused
multiply-add, which converts and normalises at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import ceil

import torch
from torch import Generator, Tensor

from traintime.data.augment import Augmentation
from traintime.data.prepare import Samples

_BRIGHTEST = 255
Batch = tuple[Tensor, Tensor]


class ResidentImages:
    """Images on a device, in the memory format that a network wants them in.

    Args:
        samples: What to place there.
        device: Where.
        mean: (C,), subtracted from pixels on a scale of 0 to 1.
        std: (C,), what they are divided by afterwards.
        dtype: Of the normalised images.
        memory_format: `torch.channels_last` or `torch.contiguous_format`.
    """

    def __init__(
        self,
        samples: Samples,
        device: torch.device | str,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._channels_last = memory_format == torch.channels_last
        images = self._laid_out(samples.images.to(device))
        self._shape = images.shape[1:]
        self._rows = images.view(len(images), -1)  # (N, H*W*C) uint8
        # (x / 255 - mean) / std = offset + x * scale, with a value for every place of a row: whole
        # rows go through one loop without broadcasting, whatever the memory format.
        one_image = samples.images[:1]
        self._scale = self._row_of(1 / (_BRIGHTEST * std), one_image).to(device)
        self._offset = self._row_of(-mean / std, one_image).to(device)
        self._dtype = dtype
        self.labels = samples.labels.to(device)

    def _laid_out(self, images: Tensor) -> Tensor:
        """Return images (B, H, W, C) with their memory in the order of the memory format."""
        return images if self._channels_last else images.permute(0, 3, 1, 2).contiguous()

    def _row_of(self, per_channel: Tensor, one_image: Tensor) -> Tensor:
        """Return a value per channel, (C,), as one for every place of a row, (H*W*C,)."""
        everywhere = per_channel.float().expand(one_image.shape)  # (1, H, W, C)
        return self._laid_out(everywhere).reshape(-1).contiguous()

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, index: Tensor) -> Tensor:
        """Return the normalised images (B, C, H, W) of some rows.

        Args:
            index: int64, (B,), on the same device.
        """
        return self._normalised(self._rows.index_select(0, index))

    def between(self, start: int, stop: int) -> Tensor:
        """Return the normalised images (B, C, H, W) of the rows from `start` up to `stop`."""
        return self._normalised(self._rows[start:stop])

    def _normalised(self, rows: Tensor) -> Tensor:
        images = torch.addcmul(self._offset, rows, self._scale)
        if self._dtype != torch.float32:
            images = images.to(self._dtype)
        images = images.view(-1, *self._shape)
        return images.permute(0, 3, 1, 2) if self._channels_last else images


class ResidentBatches:
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
        samples: Samples,
        batch_size: int,
        device: torch.device | str,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self._images = ResidentImages(samples, device, mean, std, dtype, memory_format)
        self._batch_size = batch_size
        self._seed = seed
        self._augmentation = augmentation
        self._device = self._images.labels.device  # with its index: "cuda" has become "cuda:0"
        self._order = Generator(self._device)
        self._augmenting = Generator(self._device)
        self.begin_again()
        self.steps_per_epoch = ceil(len(samples) / batch_size)
        self.start_epoch(0)

    def begin_again(self) -> None:
        """Augment as at the beginning."""
        self._augmenting.manual_seed(_mixed(self._seed, "augmentation"))

    def start_epoch(self, epoch: int) -> None:
        """Shuffle. The order depends on the seed and the epoch alone, so it can be had again."""
        self._order.manual_seed(_mixed(self._seed, epoch))
        order = torch.randperm(len(self._images), generator=self._order, device=self._device)
        self._batches = _cut(order, self._batch_size)
        self._labels = _cut(self._images.labels.index_select(0, order), self._batch_size)

    def batch(self, i: int) -> Batch:
        """Return batch `i` of the epoch: images (B, C, H, W) and labels int64 (B,)."""
        images = self._images.at(self._batches[i])
        if self._augmentation is not None:
            images = self._augmentation(images, self._augmenting)
        return images, self._labels[i]

    def state(self) -> Tensor:
        """Return the state of the augmentation, uint8 on the CPU, for a checkpoint."""
        return self._augmenting.get_state()

    def set_state(self, state: Tensor) -> None:
        """Go on augmenting from a state that `state` returned."""
        self._augmenting.set_state(state)


class OrderedBatches:
    """Batches in the order of the samples, as they are, for evaluation; may be gone through often.

    Args:
        images: Where the batches come from.
        batch_size: Samples per batch; the last may be smaller.
    """

    def __init__(self, images: ResidentImages, batch_size: int) -> None:
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
    samples: Samples,
    batch_size: int,
    device: torch.device | str,
    mean: Tensor,
    std: Tensor,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> OrderedBatches:
    """Place samples on a device and return them in batches, neither shuffled nor augmented."""
    images = ResidentImages(samples, device, mean, std, dtype, memory_format)
    return OrderedBatches(images, batch_size)


def _cut(values: Tensor, size: int) -> list[Tensor]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _mixed(seed: int, part: int | str) -> int:
    """Return a seed of 63 bits that shares none of its bits with that of another part or seed.

    The CPU's generator uses the low 32 bits alone, so they must depend on everything.
    """
    digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
