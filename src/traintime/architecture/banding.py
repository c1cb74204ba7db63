"""Which layers can be computed as one banded matrix product; `models.banded` says how and why."""

from __future__ import annotations

from collections.abc import Sequence

from traintime.architecture.layers import Activation, Conv2d, Layer, MaxPool, Shape

MAX_CHANNELS = 16
MAX_BAND_COLUMNS = 2048
"""Beyond these the wasted zeros cost more than any convolution kernel's bookkeeping."""


def is_bandable(layers: Sequence[Layer], shape: Shape) -> bool:
    """Say whether these layers are a convolution, ReLU and 2×2 pooling with few channels.

    Args:
        layers: Consecutive layers.
        shape: (C, H, W) of the image that enters them.
    """
    match list(layers):
        case [Conv2d(stride=1) as conv, Activation("relu"), MaxPool(2)]:
            channels, height, width = conv.output(shape)
            even = height % 2 == 0 and width % 2 == 0
            few = conv.in_channels <= MAX_CHANNELS
            return even and few and channels * width <= MAX_BAND_COLUMNS
        case _:
            return False


def can_be_banded(layers: Sequence[Layer], shape: Shape) -> bool:
    """Say whether any three consecutive layers of a network are bandable."""
    for index, layer in enumerate(layers):
        if is_bandable(layers[index : index + 3], shape):
            return True
        shape = layer.output(shape)
    return False
