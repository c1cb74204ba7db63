"""Random single layers, from all over `torch.nn`, at sizes that a desktop trains.

A network shows the operations that its kind is made of; these show the others, and each over the
whole range of its sizes. A layer stands behind something that wants its gradient, and before a
loss.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST_VALUES = 8e6
"""Of a tensor."""
MOST_FLOPS = 6e9
"""Of a forward."""
CHANNELS = (1, 3, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 64, 96, 116, 128, 144, 192, 256, 384, 512)
SIDES = (4, 7, 8, 14, 16, 28, 32, 32, 48, 56, 64, 96, 112)


@dataclass(frozen=True)
class Layer:
    """One random layer.

    Args:
        name: Tells how to make it again.
        family: What drew it.
        build: Makes the layer with what stands before and behind it; its output is a loss.
        inputs: Makes a batch of so many samples.
        batch_size: Samples of a step.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    batch_size: int


@dataclass(frozen=True)
class Drawn:
    """What a maker drew: a layer, the shape of a sample, and samples."""

    layer: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch_size: int
    first: bool = False
    tokens: int = 0


def layer(seed: int, number: int, group: str = "layer") -> Layer:
    """Return the layer of a number in a group of `MAKERS`; the same each time."""
    name = f"{group}-{seed}-{number}"
    draw = random.Random(name)
    make = draw.choice(MAKERS[group])
    drawn = make(draw)
    in_half = draw.random() < 0.85

    def inputs(batch_size: int) -> Tensor:
        if drawn.tokens:
            return torch.randint(0, drawn.tokens, (batch_size, *drawn.shape))
        return torch.randn(batch_size, *drawn.shape)

    def build() -> nn.Module:
        scaled = not (drawn.first or drawn.tokens)
        return _Alone(drawn.layer(), scaled=scaled, in_half=in_half and not drawn.tokens)

    return Layer(name, make.__name__.strip("_"), build, inputs, drawn.batch_size)


class _Alone(nn.Module):
    """A layer behind a factor that wants its gradient, and before the mean of squares."""

    def __init__(self, layer: nn.Module, *, scaled: bool, in_half: bool) -> None:
        super().__init__()
        self.layer = layer
        self.in_half = in_half
        self.scale = nn.Parameter(torch.ones(())) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """Return a scalar."""
        if self.in_half and torch.is_autocast_enabled("cpu"):
            x = x.bfloat16()
        if self.scale is not None:
            x = x * self.scale.to(x.dtype)
        y = self.layer(x)
        y = y[0] if isinstance(y, tuple) else y
        return y.square().mean() if y.ndim else y


class _Function(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """Call it."""
        return self.call(x)


class _Attention(nn.Module):
    """Of queries, keys and values that lie one behind the other; by torch's kernel, or by hand."""

    def __init__(self, heads: int, *, causal: bool, dropout: float, by_hand: bool) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout, self.by_hand = heads, causal, dropout, by_hand

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, W) of (B, T, 3 W)."""
        batch, length, width = x.shape
        parts = x.view(batch, length, 3, self.heads, width // 3 // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        if self.by_hand:
            weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
            y = F.dropout(weights, self.dropout) @ v
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, is_causal=self.causal, dropout_p=self.dropout
            )
        return y.transpose(1, 2).reshape(batch, length, width // 3)


def _power(draw: random.Random, low: float, high: float) -> int:
    return max(1, round(2 ** draw.uniform(low, high)))


def _image(draw: random.Random, least_side: int = 1) -> tuple[int, int, int]:
    """Return batch, channels and side."""
    while True:
        batch, channels, side = _power(draw, 0, 8), draw.choice(CHANNELS), draw.choice(SIDES)
        if side >= least_side and batch * channels * side**2 <= MOST_VALUES:
            return batch, channels, side


def _sequence(draw: random.Random, widest: float = 8) -> tuple[int, int, int]:
    """Return batch, length and width."""
    while True:
        batch, length, width = _power(draw, 0, 8), _power(draw, 3, 9), 8 * _power(draw, 1, widest)
        if batch * length * width <= MOST_VALUES / 2:
            return batch, length, width


def _anywhere(draw: random.Random, make: Callable[[int], nn.Module]) -> Drawn:
    """Return a layer on images, sequences or rows; it is told their channels or width."""
    where = draw.random()
    if where < 0.55:
        batch, channels, side = _image(draw)
        return Drawn(lambda: make(channels), (channels, side, side), batch)
    if where < 0.8:
        batch, length, width = _sequence(draw)
        return Drawn(lambda: make(width), (length, width), batch)
    width = _power(draw, 4, 12)
    return Drawn(lambda: make(width), (width,), _power(draw, 3, 11))


def _convolution(draw: random.Random) -> Drawn:
    while True:
        batch, into, side = _image(draw)
        out = draw.choice((4, *CHANNELS[2:]))
        window, stride = draw.choice((1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 7)), draw.choice((1, 1, 1, 2))
        dilation = draw.choice((1, 1, 1, 1, 1, 1, 2, 3)) if window > 1 else 1
        groups, kind = 1, draw.random()
        if kind < 0.25:
            groups, out = into, into * draw.choice((1, 1, 1, 2))
            window = draw.choice((3, 3, 3, 5, 7))
        elif kind < 0.35:
            fitting = [n for n in (2, 4, 8, 16, 32) if into % n == 0 and out % n == 0]
            groups = draw.choice(fitting or [1])
        padding = dilation * (window - 1) // 2
        flops = 2.0 * batch * side**2 * out * into / groups * window**2 / stride**2
        fits = dilation * (window - 1) + 1 <= side + 2 * padding
        if fits and flops < MOST_FLOPS and batch * out * side**2 / stride**2 <= MOST_VALUES:
            break
    bias = draw.random() < 0.4
    return Drawn(
        lambda: nn.Conv2d(into, out, window, stride, padding, dilation, groups, bias),
        (into, side, side),
        batch,
        first=draw.random() < 0.2,
    )


def _deep_convolution(draw: random.Random) -> Drawn:
    """Many channels on few places, as at the end of a network; rare among all others."""
    while True:
        batch, side = _power(draw, 0, 7), draw.choice((1, 2, 4, 4, 6, 7, 8, 14))
        into, out = (draw.choice((64, 128, 192, 256, 320, 512, 768, 1024)) for _ in range(2))
        window, stride = draw.choice((1, 3, 3, 3)), draw.choice((1, 1, 1, 2))
        if 2.0 * batch * side**2 * into * out * window**2 < MOST_FLOPS:
            break
    padding = window // 2
    return Drawn(
        lambda: nn.Conv2d(into, out, window, stride, padding, bias=False), (into, side, side), batch
    )


def _over_time(draw: random.Random) -> Drawn:
    while True:
        into = draw.choice((1, 4, 16, 25, 50, 64, 100, 128, 150, 256, 300))
        out, length = draw.choice((16, 25, 32, 64, 100, 128, 150, 256)), _power(draw, 4, 10)
        window, batch = draw.choice((1, 2, 3, 3, 4, 5, 7, 8)), _power(draw, 0, 8)
        dilation = draw.choice((1, 1, 1, 2, 4, 8, 16)) if window > 1 else 1
        groups = into if draw.random() < 0.12 else 1
        out = into if groups > 1 else out
        fits = dilation * (window - 1) < length
        flops = 2.0 * batch * length * into / groups * out * window
        if fits and flops < MOST_FLOPS and batch * max(into, out) * length <= MOST_VALUES:
            break
    padding = dilation * (window - 1) // draw.choice((1, 2))
    bias = draw.random() < 0.6
    return Drawn(
        lambda: nn.Conv1d(into, out, window, 1, padding, dilation, groups, bias),
        (into, length),
        batch,
        first=draw.random() < 0.15,
    )


def _transposed(draw: random.Random) -> Drawn:
    while True:
        batch, into, side = _image(draw)
        out, window = draw.choice((8, 16, 32, 64, 128)), draw.choice((2, 2, 4))
        small = 4.0 * batch * out * side**2 <= MOST_VALUES
        if small and into >= 8 and 8.0 * batch * side**2 * into * out < MOST_FLOPS:
            break
    return Drawn(
        lambda: nn.ConvTranspose2d(into, out, window, 2, (window - 2) // 2),
        (into, side, side),
        batch,
    )


def _linear(draw: random.Random) -> Drawn:
    while True:
        into, out, rows = _power(draw, 3, 12.5), _power(draw, 2, 13.5), _power(draw, 2, 13)
        small = rows * max(into, out) < 2 * MOST_VALUES and into * out < 3 * MOST_VALUES
        if small and 2.0 * rows * into * out < MOST_FLOPS:
            break
    bias, first = draw.random() < 0.7, draw.random() < 0.15
    lengths = [n for n in (16, 49, 64, 128, 196) if n <= rows]
    if lengths and draw.random() < 0.4:
        length = draw.choice(lengths)
        return Drawn(lambda: nn.Linear(into, out, bias), (length, into), rows // length, first)
    return Drawn(lambda: nn.Linear(into, out, bias), (into,), rows, first)


ELEMENTWISE: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.ELU,
    nn.SELU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Softplus,
    nn.Mish,
    nn.PReLU,
    lambda: nn.GELU(approximate="tanh"),
    lambda: nn.ReLU(inplace=True),
    lambda: nn.SiLU(inplace=True),
    lambda: nn.Dropout(0.1),
    lambda: nn.Dropout(0.5),
    lambda: _Function(torch.exp),
    lambda: _Function(lambda x: torch.sqrt(x * x + 1)),
    lambda: _Function(lambda x: x / 2),
    lambda: _Function(lambda x: x.clamp(0, 1)),
    lambda: _Function(lambda x: x + x.detach()),
    lambda: _Function(lambda x: x + 1.0),
)


def _elementwise(draw: random.Random) -> Drawn:
    make = draw.choice(ELEMENTWISE)
    return _anywhere(draw, lambda _: make())


def _norm(draw: random.Random) -> Drawn:
    kind = draw.random()
    if kind < 0.35:
        batch, channels, side = _image(draw)
        return Drawn(lambda: nn.BatchNorm2d(channels), (channels, side, side), batch)
    if kind < 0.45:
        width = _power(draw, 4, 12)
        return Drawn(lambda: nn.BatchNorm1d(width), (width,), _power(draw, 3, 11))
    if kind < 0.55:
        batch, length, width = _sequence(draw)
        return Drawn(lambda: nn.BatchNorm1d(length), (length, width), batch)
    if kind < 0.85:
        batch, length, width = _sequence(draw)
        make = nn.LayerNorm if kind < 0.77 else nn.RMSNorm
        return Drawn(lambda: make(width), (length, width), batch)
    batch, channels, side = _image(draw)
    groups = math.gcd(channels, draw.choice((1, 4, 8, 32)))
    return Drawn(lambda: nn.GroupNorm(groups, channels), (channels, side, side), batch)


POOLS: tuple[Callable[[], nn.Module], ...] = (
    lambda: nn.MaxPool2d(2),
    lambda: nn.MaxPool2d(2),
    lambda: nn.MaxPool2d(3, 2, 1),
    lambda: nn.MaxPool2d(3, 2),
    lambda: nn.AvgPool2d(2),
    lambda: nn.AvgPool2d(3, 1, 1),
    lambda: nn.AdaptiveAvgPool2d(1),
    lambda: nn.AdaptiveAvgPool2d(2),
    lambda: nn.AdaptiveMaxPool2d(1),
    lambda: nn.Upsample(scale_factor=2),
    lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
)


def _pool(draw: random.Random) -> Drawn:
    batch, channels, side = _image(draw, least_side=7)
    if draw.random() < 0.15:
        over_time = draw.choice((nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d))
        return Drawn(lambda: over_time(1), (channels, side**2), batch)
    return Drawn(draw.choice(POOLS), (channels, side, side), batch)


def _shuffled(x: Tensor) -> Tensor:
    batch, channels, *sides = x.shape
    return x.view(batch, 2, channels // 2, *sides).transpose(1, 2).reshape(x.shape)


ARRANGEMENTS: tuple[Callable[[Tensor], Tensor], ...] = (
    _shuffled,
    lambda x: torch.cat([x, x * 2], 1),
    lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    lambda x: torch.stack([x, x], 1),
    lambda x: x.transpose(1, 2).contiguous(),
    lambda x: x.flatten(2).transpose(1, 2).reshape(x.shape[0], -1),
    lambda x: F.pad(x, (1, 1, 1, 1)),
    lambda x: x[:, :, 1:, 1:],
    lambda x: x.roll(1, 2),
    lambda x: F.pixel_shuffle(x, 2),
    lambda x: x + x.mean((2, 3), keepdim=True),
    lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    lambda x: x.mean((2, 3)),
    lambda x: x.sum(1),
    lambda x: x.std((2, 3)),
)


def _arrangement(draw: random.Random) -> Drawn:
    batch, channels, side = _image(draw)
    call = draw.choice(ARRANGEMENTS)
    shape = (max(4, channels // 4 * 4), side, side)
    return Drawn(lambda: _Function(call), shape, max(1, batch // 4) if channels < 4 else batch)


def _softmax(draw: random.Random) -> Drawn:
    batch, length, width = _sequence(draw, widest=11)
    make = draw.choice((nn.Softmax, nn.LogSoftmax))
    return Drawn(lambda: make(-1), (length, width), batch)


def _scores_loss(x: Tensor) -> Tensor:
    return F.cross_entropy(x, torch.zeros(len(x), dtype=torch.long))


LOSSES: tuple[Callable[[Tensor], Tensor], ...] = (
    _scores_loss,
    _scores_loss,
    _scores_loss,
    lambda x: F.mse_loss(x, torch.zeros_like(x)),
    lambda x: F.smooth_l1_loss(x, torch.zeros_like(x)),
    lambda x: F.binary_cross_entropy_with_logits(x, torch.zeros_like(x)),
)


def _loss(draw: random.Random) -> Drawn:
    call = draw.choice(LOSSES)
    while True:
        width, batch = _power(draw, 1, 15.5), _power(draw, 3, 12)
        if width * batch <= MOST_VALUES:
            return Drawn(lambda: _Function(call), (width,), batch)


def _embedding(draw: random.Random) -> Drawn:
    while True:
        tokens, width = _power(draw, 5, 15.5), _power(draw, 3, 10)
        length, batch = _power(draw, 2, 9), _power(draw, 0, 8)
        if batch * length * width <= MOST_VALUES / 2:
            break
    return Drawn(lambda: nn.Embedding(tokens, width), (length,), batch, tokens=tokens)


def _recurrent(draw: random.Random) -> Drawn:
    while True:
        into, width, layers = _power(draw, 2, 9.3), _power(draw, 4, 9.3), draw.choice((1, 1, 2))
        length, batch = _power(draw, 3, 7.5), _power(draw, 1, 8)
        if 8.0 * batch * length * width * (into + width) * layers < MOST_FLOPS:
            break
    make = draw.choice((nn.LSTM, nn.LSTM, nn.GRU, nn.RNN))
    length = length if make is nn.LSTM else min(length, 64)
    batch_first, both_ways = draw.random() < 0.7, draw.random() < 0.2
    return Drawn(
        lambda: make(into, width, layers, batch_first=batch_first, bidirectional=both_ways),
        (length, into) if batch_first else (batch, into),
        batch if batch_first else length,
    )


def _attention(draw: random.Random) -> Drawn:
    while True:
        heads, width = draw.choice((1, 2, 3, 4, 6, 8, 12)), draw.choice((16, 32, 48, 64, 64, 80))
        length, batch = _power(draw, 4, 9), _power(draw, 0, 6)
        values = 3.0 * batch * length * heads * width
        scores = 1.0 * batch * heads * length**2
        if values <= MOST_VALUES / 2 and scores <= MOST_VALUES:
            break
    by_hand, causal = draw.random() < 0.35, draw.random() < 0.5
    dropout = draw.choice((0.0, 0.0, 0.1))
    return Drawn(
        lambda: _Attention(heads, causal=causal, dropout=dropout, by_hand=by_hand),
        (length, 3 * heads * width),
        batch,
    )


EVERYTHING = (
    *(_convolution,) * 10,
    *(_over_time,) * 3,
    _transposed,
    *(_linear,) * 6,
    *(_elementwise,) * 4,
    *(_norm,) * 4,
    *(_pool,) * 2,
    *(_arrangement,) * 2,
    _softmax,
    *(_loss,) * 2,
    _embedding,
    *(_recurrent,) * 3,
    *(_attention,) * 3,
)

MAKERS = {"layer": EVERYTHING, "deep": (_deep_convolution,), "conv": (_convolution,)}
