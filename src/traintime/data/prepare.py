"""From a data set as it is published to the parts that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from traintime.data.catalogue import DataFacts, split_sizes
from traintime.data.fetch import RawImages
from traintime.data.formats import Bytes
from traintime.recipe import Recipe

Rows = NDArray[np.int64]

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
    with `raw`.

    Raises:
        InputError: More training samples, or larger batches, than there are.
    """
    sizes = split_sizes(facts, recipe)
    random = np.random.default_rng(recipe.seed)
    rows: Rows = np.arange(len(raw.labels))
    if raw.test_images is None or raw.test_labels is None:
        test_rows, rows = _drawn(raw.labels, rows, sizes.test, random)
        test = _samples(raw.images, raw.labels, test_rows)
    else:
        test = _samples(raw.test_images, raw.test_labels, np.arange(len(raw.test_labels)))
    validation = test
    if recipe.validate_on == "validation":
        validation_rows, rows = _drawn(raw.labels, rows, sizes.validation, random)
        validation = _samples(raw.images, raw.labels, validation_rows)
    if sizes.train < len(rows):
        rows, _ = _drawn(raw.labels, rows, sizes.train, random)
    train = _samples(raw.images, raw.labels, rows)
    return PreparedImages(train, validation, test, *pixel_statistics(train.images))


def _samples(images: Bytes, labels: Bytes, rows: Rows) -> Samples:
    if len(rows) < len(labels):
        # numpy's gather takes a third of the time of torch's here: it asks for huge pages.
        images, labels = images.take(rows, axis=0), labels.take(rows)
    return Samples(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def _drawn(labels: Bytes, rows: Rows, take: int, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Draw rows at random with the classes in proportion.

    Args:
        labels: (N,), the class of each row of the data set.
        rows: The rows to draw from.
        take: How many to draw.
        random: Decides which.

    Returns:
        The rows drawn and the rows left, each in ascending order.
    """
    shuffled = random.permutation(rows)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels[rows])
    rank_in_class = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_drawn = rank_in_class < np.repeat(apportioned(counts, take), counts)
    return np.sort(by_class[is_drawn]), np.sort(by_class[~is_drawn])


def apportioned(counts: NDArray[np.int64], take: int) -> NDArray[np.int64]:
    """Return how many of each class to take so that they are in proportion and sum to `take`.

    Args:
        counts: Samples there are of each class.
        take: Samples to take, no more than there are.

    References:
        The method of largest remainders (Hamilton).
    """
    quotas, remainders = np.divmod(counts * take, counts.sum())
    nearest_to_one_more = np.argsort(-remainders, kind="stable")[: take - quotas.sum()]
    quotas[nearest_to_one_more] += 1
    return quotas


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
