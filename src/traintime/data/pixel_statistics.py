"""Mean and deviation of pixels, from sums that are exact: the same on every machine, in any order.

This module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a worker does without what they import
    from traintime.data.formats import Bytes

BRIGHTEST = 255
# Squares of 256 bytes sum to less than 2**24, so float32 holds every partial sum exactly.
_EXACT_ROWS = 256

Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and standard deviation of each channel, (C,) each, on a scale of 0 to 1."""


def statistics_of_pixels(images: Bytes) -> Statistics:
    """Return the statistics of images, uint8, (N, H, W, C)."""
    num_channels = images.shape[-1]
    pixels = images.reshape(len(images), -1)  # (N, H*W*C)
    sums, squares = np.zeros((2, pixels.shape[1]))
    for start in range(0, len(pixels), _EXACT_ROWS):
        block = pixels[start : start + _EXACT_ROWS].astype(np.float32)
        sums += block.sum(axis=0)
        squares += np.square(block, out=block).sum(axis=0)
    sums, squares = (values.reshape(-1, num_channels).sum(axis=0) for values in (sums, squares))
    return statistics_of_sums(sums, squares, pixels.size // num_channels)


def statistics_of_sums(sums: NDArray[Any], squares: NDArray[Any], pixels: int) -> Statistics:
    """Return the statistics of pixels by their sums.

    A channel without any contrast counts as having that of one step of brightness, so that it can
    be divided by.

    Args:
        sums: (C,), of the pixels of each channel.
        squares: (C,), of their squares.
        pixels: How many each channel has.
    """
    mean = sums.astype(np.float64) / pixels
    mean_square = squares.astype(np.float64) / pixels
    deviation = np.sqrt(np.maximum(mean_square - mean**2, 1.0))
    return mean / BRIGHTEST, deviation / BRIGHTEST
