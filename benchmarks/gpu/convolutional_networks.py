"""Convolutional networks to train, by layers alike to those that they are named after."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Sum(nn.Module):
    """What comes in, projected if it must be, plus what a body makes of it."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, activated if it shall be."""
        return self.after(self.shortcut(x) + self.body(x))


Activation = Callable[[], nn.Module]
_relu = partial(nn.ReLU, inplace=True)


def _conv(
    channels_in: int,
    channels_out: int,
    window: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = _relu,
) -> nn.Sequential:
    conv = nn.Conv2d(
        channels_in, channels_out, window, stride, window // 2, groups=groups, bias=False
    )
    after = [activation()] if activation else []
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), *after)


def _scores(channels: int, classes: int = 1000) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet(depths: tuple[int, ...], expansion: int, width: int = 64, groups: int = 1) -> nn.Module:
    """He et al. 2015; with groups, Xie et al. 2017. An expansion of 1 means two 3×3 a block."""
    layers: list[nn.Module] = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, depth in enumerate(depths):
        inner, out = width * 2**stage, 64 * 2**stage * expansion
        for block in range(depth):
            stride = 2 if stage and not block else 1
            if expansion == 1:
                body = [_conv(channels, out, 3, stride), _conv(out, out, activation=None)]
            else:
                body = [
                    _conv(channels, inner, 1),
                    _conv(inner, inner, 3, stride, groups),
                    _conv(inner, out, 1, activation=None),
                ]
            same = channels == out and stride == 1
            shortcut = None if same else _conv(channels, out, 1, stride, activation=None)
            layers.append(Sum(nn.Sequential(*body), shortcut, _relu()))
            channels = out
    return nn.Sequential(*layers, *_scores(channels))


def vgg16() -> nn.Module:
    """Simonyan, Zisserman 2014, with batch norm."""
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers.append(_conv(channels, width))
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for width_in, width_out in ((512 * 49, 4096), (4096, 4096)):
        layers += [nn.Linear(width_in, width_out), _relu(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


class Squeeze(nn.Module):
    """Weigh channels by what their means say: Hu et al. 2017."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.SiLU(inplace=True)),
            *(nn.Conv2d(inner, channels, 1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels weighed."""
        return x * self.weigh(x)


# (expansion, channels, blocks, stride, window) of each stage
MOBILENET_V2 = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3)),
    *((6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 1, 1, 3)),
)
EFFICIENTNET_B0 = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)


def inverted(
    stages: tuple[tuple[int, ...], ...], activation: Activation, squeeze: int
) -> nn.Module:
    """Sandler et al. 2018; with squeeze, Tan and Le 2019. Narrow sums, wide depthwise bodies."""
    layers: list[nn.Module] = [_conv(3, 32, 3, 2, activation=activation)]
    channels = 32
    for expansion, out, blocks, first_stride, window in stages:
        for block in range(blocks):
            stride, inner = (1 if block else first_stride), channels * expansion
            body = [_conv(channels, inner, 1, activation=activation)] if expansion > 1 else []
            body.append(_conv(inner, inner, window, stride, inner, activation))
            body += [Squeeze(inner, channels // squeeze)] if squeeze else []
            body.append(_conv(inner, out, 1, activation=None))
            whole = nn.Sequential(*body)
            layers.append(Sum(whole) if stride == 1 and channels == out else whole)
            channels = out
    return nn.Sequential(*layers, _conv(channels, 1280, 1, activation=activation), *_scores(1280))


class ChannelsLast(nn.Module):
    """Apply layers to channels as the last dimension."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) as it came."""
        return self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext(depths: tuple[int, ...], widths: tuple[int, ...]) -> nn.Module:
    """Liu et al. 2022: 7×7 depthwise, then an MLP on each place."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelsLast(nn.LayerNorm(widths[0]))]
    channels = widths[0]
    for depth, width in zip(depths, widths, strict=True):
        if width != channels:
            layers += [ChannelsLast(nn.LayerNorm(channels)), nn.Conv2d(channels, width, 2, 2)]
            channels = width
        for _ in range(depth):
            mlp = (nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
            layers.append(Sum(nn.Sequential(depthwise, ChannelsLast(nn.LayerNorm(width), *mlp))))
    return nn.Sequential(*layers, *_scores(channels))


class UNet(nn.Module):
    """Ronneberger et al. 2015, padded, with batch norm."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512, 1024)) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.first = self._double(3, widths[0])
        self.down = nn.ModuleList(self._double(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.join = nn.ModuleList(self._double(2 * a, a) for a, _ in reversed(pairs))
        self.scores = nn.Conv2d(widths[0], 2, 1)

    @staticmethod
    def _double(channels_in: int, channels_out: int) -> nn.Module:
        return nn.Sequential(_conv(channels_in, channels_out), _conv(channels_out, channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of each pixel (B, 2, H, W)."""
        x = self.first(x)
        skipped: list[Tensor] = []
        for down in self.down:
            skipped.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat((skipped.pop(), up(x)), 1))
        return self.scores(x)
