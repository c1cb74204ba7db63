"""From a data set as it is published to the parts that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from traintime.data.catalogue import DataFacts, split_sizes
from traintime.data.draw import Labels, PartRows, Rows, divide
from traintime.data.fetch import RawImages
from traintime.data.formats import Bytes
from traintime.data.image_store import ImageStore
from traintime.data.pixel_statistics import Statistics, statistics_of_pixels
from traintime.recipe import Recipe


@dataclass(frozen=True)
class Samples:
    """Images with their classes, in memory.

    Args:
        images: uint8, (N, H, W, C), contiguous.
        labels: int64, (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Bytes:
        """Return one image, uint8, (H, W, C)."""
        return self.images[index].numpy()


@dataclass(frozen=True)
class StoredSamples:
    """Images on the disk, with their classes.

    Args:
        store: Where they are.
        rows: (N,), which of the store.
        labels: int64, (N,).
    """

    store: ImageStore
    rows: Rows
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Bytes:
        """Return one image, uint8, (H, W, C)."""
        return self.store.image(int(self.rows[index]))


@dataclass(frozen=True)
class PreparedImages:
    """The parts of a training job, and the scale of its inputs.

    Args:
        train: What gradients are computed on.
        validation: What the metric is watched on; the test part itself if the recipe says so.
        test: What the final score is of.
        mean: (C,), mean of the training part's pixels on a scale of 0 to 1.
        std: (C,), their standard deviation.
    """

    train: Samples | StoredSamples
    validation: Samples | StoredSamples
    test: Samples | StoredSamples
    mean: Tensor
    std: Tensor


def prepare(raw: RawImages, recipe: Recipe, facts: DataFacts) -> PreparedImages:
    """Split a data set by class, evenly, into parts of exactly `split_sizes`.

    The split depends on the recipe's seed alone. The parts that are not cut share their memory
    with `raw`. Images of a folder are divided before they are read.

    Raises:
        InputError: More training samples, or larger batches, than there are.
    """
    if raw.parts:
        return _divided(raw, raw.parts)
    rows = np.arange(len(raw.labels))
    own_test = None if raw.test_labels is None else np.arange(len(raw.test_labels))
    parts = divide(raw.labels, recipe, split_sizes(facts, recipe), rows, own_test)
    if raw.test_images is None or raw.test_labels is None:
        return _divided(raw, parts)
    return _divided(raw, parts, _samples(raw.test_images, raw.test_labels, parts.test))


def _divided(
    raw: RawImages, parts: PartRows, own_test: Samples | StoredSamples | None = None
) -> PreparedImages:
    test = own_test or _samples(raw.images, raw.labels, parts.test)
    validation = test
    if parts.validation is not None:
        validation = _samples(raw.images, raw.labels, parts.validation)
    train = _samples(raw.images, raw.labels, parts.train)
    return PreparedImages(train, validation, test, *_statistics(train))


def _statistics(train: Samples | StoredSamples) -> tuple[Tensor, Tensor]:
    if isinstance(train, StoredSamples):
        return _as_tensors(train.store.statistics(train.rows))
    return pixel_statistics(train.images)


def _samples(images: Bytes | ImageStore, labels: Labels, rows: Rows) -> Samples | StoredSamples:
    if isinstance(images, ImageStore):
        return StoredSamples(images, rows, torch.from_numpy(labels[rows].astype(np.int64)))
    if len(rows) < len(labels):
        # numpy's gather takes a third of the time of torch's here: it asks for huge pages.
        images, labels = images.take(rows, axis=0), labels.take(rows)
    return Samples(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (C,) each, on a scale of 0 to 1.

    Args:
        images: uint8, (N, H, W, C).
    """
    return _as_tensors(statistics_of_pixels(images.numpy()))


def _as_tensors(statistics: Statistics) -> tuple[Tensor, Tensor]:
    mean, deviation = (torch.tensor(values, dtype=torch.float32) for values in statistics)
    return mean, deviation
