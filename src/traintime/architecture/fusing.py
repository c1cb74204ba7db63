"""Which layers can be computed as one strided convolution; `models.fused` says how and why."""

from __future__ import annotations

from collections.abc import Sequence

from traintime.architecture.layers import Activation, Conv2d, Layer, MaxPool, Shape

MAX_IN_CHANNELS, MAX_OUT_CHANNELS = 16, 32
"""With more channels native kernels are efficient, and the zeros of the fused one cost more."""


def is_fusable(layers: Sequence[Layer], shape: Shape) -> bool:
    """Say whether these layers are a convolution, ReLU and 2×2 pooling with few channels.

    Args:
        layers: Consecutive layers.
        shape: (C, H, W) of the image that enters them.
    """
    match list(layers):
        case [Conv2d(stride=1) as conv, Activation("relu"), MaxPool(2)]:
            _, height, width = conv.output(shape)
            even = height % 2 == 0 and width % 2 == 0
            few = conv.in_channels <= MAX_IN_CHANNELS and conv.out_channels <= MAX_OUT_CHANNELS
            return even and few
        case _:
            return False


def can_be_fused(layers: Sequence[Layer], shape: Shape) -> bool:
    """Say whether any three consecutive layers of a network are fusable."""
    for index, layer in enumerate(layers):
        if is_fusable(layers[index : index + 3], shape):
            return True
        shape = layer.output(shape)
    return False
