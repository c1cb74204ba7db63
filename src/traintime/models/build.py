"""Torch modules from network descriptions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from traintime.architecture.fusing import is_fusable
from traintime.architecture.layers import (
    Activation,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    Linear,
    MaxPool,
    Network,
    Residual,
    Shape,
)
from traintime.models.fused import FusedConvReluPool

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def build(network: Network, *, fused: bool = False) -> nn.Sequential:
    """Return the network as a module with freshly drawn weights.

    The weights come from torch's global generator in the order of the layers, whichever way the
    convolutions are computed, so a seed gives the same network either way.

    Args:
        network: The description; maps (B, C, H, W) to (B, num_classes).
        fused: Compute convolution, ReLU and pooling as one strided convolution where possible.
    """
    modules: list[nn.Module] = []
    shape: Shape = network.input_shape
    layers = list(network.layers)
    while layers:
        group = tuple(layers[:3]) if fused and is_fusable(layers[:3], shape) else (layers[0],)
        modules.append(_fused(group) if len(group) == 3 else _module(group[0]))
        for layer in group:
            shape = layer.output(shape)
        layers = layers[len(group) :]
    return nn.Sequential(*modules)


def _fused(group: Sequence[Layer]) -> nn.Module:
    conv = group[0]
    assert isinstance(conv, Conv2d)
    return FusedConvReluPool(conv)


def _module(layer: Layer) -> nn.Module:  # noqa: C901 - one line per kind of layer
    match layer:
        case Conv2d(inputs, outputs, kernel, padding, stride, bias):
            return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
        case Linear(inputs, outputs):
            return nn.Linear(inputs, outputs)
        case BatchNorm(channels):
            return _BatchNorm(channels)
        case Activation(function):
            return ACTIVATIONS[function]()
        case Dropout(share):
            return nn.Dropout(share)
        case MaxPool(size):
            return nn.MaxPool2d(size)
        case GlobalMaxPool():
            return _GlobalMaxPool()
        case GlobalAveragePool():
            return _GlobalAveragePool()
        case Flatten():
            return nn.Flatten()
        case Residual(body, shortcut):
            return _Residual(body, shortcut)


class _BatchNorm(nn.BatchNorm2d):
    """Normalises images (B, C, H, W) and features (B, C) alike."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        assert input.ndim in (2, 4)


class _GlobalMaxPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C)
        return x.amax((2, 3))


class _GlobalAveragePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C)
        return x.mean((2, 3))


class _Residual(nn.Module):
    def __init__(self, body: Sequence[Layer], shortcut: Sequence[Layer]) -> None:
        super().__init__()
        self.body = nn.Sequential(*map(_module, body))
        self.shortcut = nn.Sequential(*map(_module, shortcut))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)
