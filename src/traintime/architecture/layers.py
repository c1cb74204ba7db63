"""The layers a shipped network is made of.

A layer knows the shape that it turns another shape into, nothing else: `models` makes it a torch
module, `workload` counts its operations. So what is trained and what is forecast is one network.

Shapes are of one sample, without the batch: (C, H, W) for images, (F,) for features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Conv2d:
    """A square convolution with stride 1 or 2."""

    in_channels: int
    out_channels: int
    kernel: int
    padding: int = 0
    stride: int = 1
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        """Return (C_out, H_out, W_out)."""
        _, height, width = shape
        reach = 2 * self.padding - self.kernel
        return (
            self.out_channels,
            (height + reach) // self.stride + 1,
            (width + reach) // self.stride + 1,
        )

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return self.out_channels * (self.in_channels * self.kernel**2 + self.bias)


@dataclass(frozen=True)
class Linear:
    """A fully connected layer."""

    in_features: int
    out_features: int

    def output(self, shape: Shape) -> Shape:
        """Return (F_out,)."""
        assert shape == (self.in_features,), f"{shape} meets {self}"
        return (self.out_features,)

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return self.out_features * (self.in_features + 1)


@dataclass(frozen=True)
class BatchNorm:
    """Normalisation of each channel over the batch (Ioffe & Szegedy 2015)."""

    channels: int

    def output(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        return shape

    @property
    def parameters(self) -> int:
        """Number of scales and shifts."""
        return 2 * self.channels


@dataclass(frozen=True)
class Activation:
    """An elementwise non-linearity, by its name in the recipe."""

    function: str

    def output(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        return shape

    @property
    def parameters(self) -> int:
        """None are learned."""
        return 0


@dataclass(frozen=True)
class Dropout:
    """Zeroes a share of the values while training."""

    share: float

    def output(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        return shape

    @property
    def parameters(self) -> int:
        """None are learned."""
        return 0


@dataclass(frozen=True)
class MaxPool:
    """The maximum of each square of `size` × `size`."""

    size: int

    def output(self, shape: Shape) -> Shape:
        """Return (C, H // size, W // size)."""
        channels, height, width = shape
        return channels, height // self.size, width // self.size

    @property
    def parameters(self) -> int:
        """None are learned."""
        return 0


@dataclass(frozen=True)
class GlobalMaxPool:
    """The maximum of each channel, as features."""

    def output(self, shape: Shape) -> Shape:
        """Return (C,)."""
        return shape[:1]

    @property
    def parameters(self) -> int:
        """None are learned."""
        return 0


@dataclass(frozen=True)
class GlobalAveragePool:
    """The mean of each channel, as features."""

    def output(self, shape: Shape) -> Shape:
        """Return (C,)."""
        return shape[:1]

    @property
    def parameters(self) -> int:
        """None are learned."""
        return 0


@dataclass(frozen=True)
class Flatten:
    """All values in a row, channels first."""

    def output(self, shape: Shape) -> Shape:
        """Return (C · H · W,)."""
        return (math.prod(shape),)

    @property
    def parameters(self) -> int:
        """None are learned."""
        return 0


@dataclass(frozen=True)
class Residual:
    """`body(x) + shortcut(x)`; an empty shortcut is the identity (He et al. 2015)."""

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    def output(self, shape: Shape) -> Shape:
        """Return the shape that both branches end in."""
        ends = output_shape(self.body, shape)
        assert ends == output_shape(self.shortcut, shape), f"branches differ in {self}"
        return ends

    @property
    def parameters(self) -> int:
        """Number of parameters of both branches."""
        return sum(layer.parameters for layer in (*self.body, *self.shortcut))


Layer = (
    Conv2d
    | Linear
    | BatchNorm
    | Activation
    | Dropout
    | MaxPool
    | GlobalMaxPool
    | GlobalAveragePool
    | Flatten
    | Residual
)


@dataclass(frozen=True)
class Network:
    """Layers in order, from one image to one score per class."""

    name: str
    input_shape: Shape
    num_classes: int
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Number of learned values."""
        return sum(layer.parameters for layer in self.layers)


def output_shape(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """Return the shape behind the last layer."""
    for layer in layers:
        shape = layer.output(shape)
    return shape
