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
from traintime.data.own_table import RawTable
from traintime.data.pixel_statistics import Statistics, statistics_of_pixels
from traintime.data.table_cache import PreparedTable, ShownRow
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

    def first(self, count: int) -> Samples:
        """Return the first ones."""
        return Samples(self.images[:count], self.labels[:count])

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
class TableSamples:
    """Rows of a table with their classes, in memory.

    Args:
        features: float32, (N, F), as the network is given them.
        labels: int64, (N,).
        shown: What is shown of each row; empty for parts of which nothing is.
    """

    features: Tensor
    labels: Tensor
    shown: tuple[ShownRow, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> TableSamples:
        """Return the first ones, without what is shown of them."""
        return TableSamples(self.features[:count], self.labels[:count])


AnySamples = Samples | StoredSamples | TableSamples


@dataclass(frozen=True)
class PreparedParts:
    """The parts of a training job, and the scale of its inputs.

    Args:
        train: What gradients are computed on.
        validation: What the metric is watched on; the test part itself if the recipe says so.
        test: What the final score is of.
        mean: (C,), mean of the training part's pixels on a scale of 0 to 1; (0,) of a table, whose
            features have their scale.
        std: (C,), their standard deviation.
    """

    train: AnySamples
    validation: AnySamples
    test: AnySamples
    mean: Tensor
    std: Tensor


def prepare(raw: RawImages | RawTable, recipe: Recipe, facts: DataFacts) -> PreparedParts:
    """Split a data set by class, evenly, into parts of exactly `split_sizes`.

    The split depends on the recipe's seed alone. The parts that are not cut share their memory
    with `raw`. Images of a folder are divided before they are read, and the rows of a table before
    they are encoded.

    Raises:
        InputError: More training samples, or larger batches, than there are.
    """
    if isinstance(raw, RawTable):
        return _of_table(raw.table)
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
) -> PreparedParts:
    test = own_test or _samples(raw.images, raw.labels, parts.test)
    validation = test
    if parts.validation is not None:
        validation = _samples(raw.images, raw.labels, parts.validation)
    train = _samples(raw.images, raw.labels, parts.train)
    return PreparedParts(train, validation, test, *_statistics(train))


def _of_table(table: PreparedTable) -> PreparedParts:
    def samples(rows: Rows, shown: tuple[ShownRow, ...] = ()) -> TableSamples:
        features, labels = table.features[rows], table.labels[rows]
        return TableSamples(torch.from_numpy(features), torch.from_numpy(labels), shown)

    parts, test = table.parts, samples(table.parts.test, table.shown)
    validation = test if parts.validation is None else samples(parts.validation)
    return PreparedParts(samples(parts.train), validation, test, torch.zeros(0), torch.ones(0))


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
