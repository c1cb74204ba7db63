"""From a data set as it is published to the parts that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from traintime.data.catalogue import DataFacts, split_sizes
from traintime.data.draw import Labels, PartRows, Rows, divide
from traintime.data.fetch import RawImages
from traintime.data.formats import Bytes
from traintime.recipe import Recipe

_BRIGHTEST = 255
# Squares of 256 bytes sum to less than 2**24, so float32 holds every partial sum exactly.
_EXACT_ROWS = 256


@dataclass(frozen=True)
class Samples:
    """Images with their classes.

    Args:
        images: uint8, (N, H, W, C), contiguous.
        labels: int64, (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


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

    train: Samples
    validation: Samples
    test: Samples
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


def _divided(raw: RawImages, parts: PartRows, own_test: Samples | None = None) -> PreparedImages:
    test = own_test or _samples(raw.images, raw.labels, parts.test)
    validation = test
    if parts.validation is not None:
        validation = _samples(raw.images, raw.labels, parts.validation)
    train = _samples(raw.images, raw.labels, parts.train)
    return PreparedImages(train, validation, test, *pixel_statistics(train.images))


def _samples(images: Bytes, labels: Labels, rows: Rows) -> Samples:
    if len(rows) < len(labels):
        # numpy's gather takes a third of the time of torch's here: it asks for huge pages.
        images, labels = images.take(rows, axis=0), labels.take(rows)
    return Samples(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (C,) each, on a scale of 0 to 1.

    The sums are exact, so the result is the same on every machine. A channel without any contrast
    counts as having that of one step of brightness, so that it can be divided by.

    Args:
        images: uint8, (N, H, W, C).
    """
    num_channels = images.shape[-1]
    pixels = images.numpy().reshape(len(images), -1)  # (N, H*W*C)
    sums, squares = np.zeros((2, pixels.shape[1]))
    for start in range(0, len(pixels), _EXACT_ROWS):
        block = pixels[start : start + _EXACT_ROWS].astype(np.float32)
        sums += block.sum(axis=0)
        squares += np.square(block, out=block).sum(axis=0)
    count = pixels.size / num_channels
    mean = sums.reshape(-1, num_channels).sum(axis=0) / count
    mean_square = squares.reshape(-1, num_channels).sum(axis=0) / count
    std = np.sqrt(np.maximum(mean_square - mean**2, 1.0))
    return _share_of_brightest(mean), _share_of_brightest(std)


def _share_of_brightest(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values / _BRIGHTEST, dtype=torch.float32)
