"""Twenty well-known networks that no law, rate or rule of ours was fitted to.

    python benchmarks/unseen_models.py    # what each one is: parameters, FLOP, kernels

Written in plain torch after the papers, at sizes that two cores train: a step in fp32 takes between
2 ms and 1 s. The random networks of `calibration/cpu_steps.py` teach; these examine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from traintime.workload.capture import Subject, capture

Family = Literal["mlp", "cnn", "rnn", "transformer"]
Optimizer = Literal["sgd", "adam", "adamw"]
Batch = tuple[Tensor, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Named:
    """A network that people know by its name, and how it is trained.

    Args:
        name: Short, for tables and `--only`.
        family: What it is made of.
        network: Makes it.
        inputs: Makes random samples and their targets, so many.
        loss: Makes a scalar of the network's output and the targets.
        batches: Two batch sizes.
        optimizer: The paper's, or Adam where torch has none like it.
        source: The paper, and the sizes taken.
    """

    name: str
    family: Family
    network: Callable[[], nn.Module]
    inputs: Callable[[int], Batch]
    loss: Criterion
    batches: tuple[int, int]
    optimizer: Optimizer
    source: str

    def build(self) -> nn.Module:
        """Return the network with its loss: `build()(*inputs(batch_size))` is a scalar."""
        return WithLoss(self.network(), self.loss)


class WithLoss(nn.Module):
    """A network whose output is its loss, so that targets are data like the samples.

    Args:
        network: Takes samples.
        criterion: Takes what the network returns, and the targets.
    """

    def __init__(self, network: nn.Module, criterion: Criterion) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion

    def forward(self, samples: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.criterion(self.network(samples), targets)


def make_optimizer(name: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return torch's optimizer; steps so small that hundreds on one batch learn next to nothing."""
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)
        case "adam":
            return torch.optim.Adam(parameters, lr=1e-4)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=1e-4)


def training_step(
    model: Named, precision: str, batch_size: int, *, compiled: bool = False
) -> Callable[[], None]:
    """Return what trains a model one step on one batch that lies ready.

    Args:
        model: Built with the same weights each time.
        precision: "fp32", or "bf16" for autocast with fp32 weights.
        batch_size: Samples.
        compiled: By torch's default compiler, at the first step.
    """
    torch.manual_seed(0)
    module = model.build().train()
    samples, targets = model.inputs(batch_size)
    optimizer = make_optimizer(model.optimizer, module.parameters())
    network = torch.compile(module) if compiled else module

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = network(samples, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def subject(model: Named) -> Subject:
    """Return a model as `capture` takes it."""
    return Subject(
        name=model.name,
        source=model.source,
        module=model.build().train(),
        inputs=lambda batch_size, _: (model.inputs(batch_size), {}),
        input_shape=tuple(model.inputs(1)[0].shape[1:]),
        loss=_as_it_is,
    )


def _as_it_is(loss: Any) -> Tensor:
    return loss


# Data -------------------------------------------------------------------------------------------


def _labelled(shape: tuple[int, ...], num_classes: int) -> Callable[[int], Batch]:
    """Make samples of normal noise and a class for each."""
    return lambda b: (torch.randn(b, *shape), torch.randint(0, num_classes, (b,)))


def _texts(vocabulary: int, length: int, num_classes: int) -> Callable[[int], Batch]:
    """Make texts of token numbers and a class for each."""

    def make(batch_size: int) -> Batch:
        ids = torch.randint(0, vocabulary, (batch_size, length))
        return ids, torch.randint(0, num_classes, (batch_size,))

    return make


def _next_tokens(vocabulary: int, length: int) -> Callable[[int], Batch]:
    """Make texts, and the token that follows each of theirs."""

    def make(batch_size: int) -> Batch:
        ids = torch.randint(0, vocabulary, (batch_size, length + 1))
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    return make


def _numbers(shape: tuple[int, ...], targets: int) -> Callable[[int], Batch]:
    """Make samples of normal noise and numbers to tell for each."""
    return lambda b: (torch.randn(b, *shape), torch.randn(b, targets))


def _masks(shape: tuple[int, int, int], num_classes: int) -> Callable[[int], Batch]:
    """Make images and a class for each pixel."""
    return lambda b: (torch.randn(b, *shape), torch.randint(0, num_classes, (b, *shape[1:])))


def _token_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over all places of all texts: (B, T, V) and (B, T)."""
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


# Fully connected --------------------------------------------------------------------------------


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def _mlp_with_norm() -> nn.Module:
    layers: list[nn.Module] = []
    for into, out in ((784, 512), (512, 512)):
        layers += [nn.Linear(into, out), nn.BatchNorm1d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


class _Plus(nn.Module):
    """What a body makes of x, plus x itself or a shortcut of it."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)


def _tabular_resnet(features: int = 54, classes: int = 7, width: int = 256) -> nn.Module:
    def block() -> nn.Module:
        into = [nn.BatchNorm1d(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(0.2)]
        return _Plus(nn.Sequential(*into, nn.Linear(2 * width, width), nn.Dropout(0.1)))

    head = [nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)]
    return nn.Sequential(nn.Linear(features, width), *(block() for _ in range(4)), *head)


# Convolutional ----------------------------------------------------------------------------------


def _lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def _conv_norm(
    into: int, out: int, window: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(into, out, window, stride, window // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out)]


def _scores(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


class _ZeroShortcut(nn.Module):
    """Every second pixel, and channels of zeros on both sides: option A of He et al. (2016)."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.each_side = (out - into) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.each_side, self.each_side))


def _conv_shortcut(into: int, out: int) -> nn.Module:
    return nn.Sequential(*_conv_norm(into, out, 1, 2))


def _resnet(
    widths: tuple[int, ...], blocks: int, shortcut: Callable[[int, int], nn.Module]
) -> nn.Module:
    layers: list[nn.Module] = [*_conv_norm(3, widths[0]), nn.ReLU(inplace=True)]
    into = widths[0]
    for width in widths:
        for _ in range(blocks):
            smaller = into != width
            first = [*_conv_norm(into, width, 3, 2 if smaller else 1), nn.ReLU(inplace=True)]
            body = nn.Sequential(*first, *_conv_norm(width, width))
            layers.append(_Plus(body, shortcut(into, width) if smaller else None))
            layers.append(nn.ReLU(inplace=True))
            into = width
    return nn.Sequential(*layers, *_scores(into, 10))


def _vgg11() -> nn.Module:
    layers: list[nn.Module] = []
    into = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):  # 0: a pooling
        if width:
            layers += [nn.Conv2d(into, width, 3, padding=1), nn.ReLU(inplace=True)]
        else:
            layers.append(nn.MaxPool2d(2))
        into = width or into
    layers.append(nn.Flatten())
    for _ in range(2):
        layers += [nn.Dropout(), nn.Linear(512, 512), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def _mobilenet_v2(scale: float = 0.5, classes: int = 1000) -> nn.Module:
    def scaled(channels: int) -> int:
        near = max(8, int(channels * scale + 4) // 8 * 8)
        return near if near >= 0.9 * channels * scale else near + 8

    def block(into: int, out: int, stride: int, wider: int) -> nn.Module:
        hidden = into * wider
        widen = [*_conv_norm(into, hidden, 1), nn.ReLU6(inplace=True)] if wider > 1 else []
        middle = [*_conv_norm(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True)]
        body = nn.Sequential(*widen, *middle, *_conv_norm(hidden, out, 1))
        return _Plus(body) if stride == 1 and into == out else body

    into = scaled(32)
    layers: list[nn.Module] = [*_conv_norm(3, into, 3, 2), nn.ReLU6(inplace=True)]
    stages = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    for wider, channels, repeats, stride in stages:
        for index in range(repeats):
            layers.append(block(into, scaled(channels), 1 if index else stride, wider))
            into = scaled(channels)
    layers += [*_conv_norm(into, 1280, 1), nn.ReLU6(inplace=True)]
    pool, flat, scores = _scores(1280, classes)
    return nn.Sequential(*layers, pool, flat, nn.Dropout(0.2), scores)


class _Fire(nn.Module):
    """A narrow 1×1 convolution, then a 1×1 and a 3×3 side by side."""

    def __init__(self, into: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(into, narrow, 1)
        self.small = nn.Conv2d(narrow, wide, 1)
        self.large = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x), inplace=True)
        sides = [F.relu(side(x), inplace=True) for side in (self.small, self.large)]
        return torch.cat(sides, 1)


def _squeezenet(classes: int = 1000) -> nn.Module:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool(),
        _Fire(64, 16, 64), _Fire(128, 16, 64), pool(),
        _Fire(128, 32, 128), _Fire(256, 32, 128), pool(),
        _Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256),
        nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class _Dense(nn.Module):
    """Twelve new channels beside those that came in."""

    def __init__(self, into: int, growth: int) -> None:
        super().__init__()
        first = [nn.BatchNorm2d(into), nn.ReLU(), nn.Conv2d(into, 4 * growth, 1, bias=False)]
        second = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.new = nn.Sequential(*first, nn.BatchNorm2d(4 * growth), nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], 1)


def _densenet_bc(depth: int = 40, growth: int = 12) -> nn.Module:
    channels = 2 * growth
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for block in range(3):
        if block:
            halve = nn.Conv2d(channels, channels // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), halve, nn.AvgPool2d(2)]
            channels //= 2
        for _ in range((depth - 4) // 6):
            layers.append(_Dense(channels, growth))
            channels += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), *_scores(channels, 10))


class _Shuffle(nn.Module):
    """A unit of ShuffleNetV2: half of the channels pass by, or both halves shrink the image."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        half = out // 2
        self.passed: nn.Module | None = None
        if stride == 2:
            near = [*_conv_norm(into, into, 3, 2, into), *_conv_norm(into, half, 1)]
            self.passed = nn.Sequential(*near, nn.ReLU(inplace=True))
        start = [*_conv_norm(into if stride == 2 else half, half, 1), nn.ReLU(inplace=True)]
        end = [*_conv_norm(half, half, 3, stride, half), *_conv_norm(half, half, 1)]
        self.worked = nn.Sequential(*start, *end, nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        kept, used = (self.passed(x), x) if self.passed else x.chunk(2, 1)
        joined = torch.cat([kept, self.worked(used)], 1)
        b, c, h, w = joined.shape
        return joined.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def _shufflenet_v2(classes: int = 1000) -> nn.Module:
    layers: list[nn.Module] = [*_conv_norm(3, 24, 3, 2), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    into = 24
    for width, repeats in ((48, 4), (96, 8), (192, 4)):
        layers.append(_Shuffle(into, width, 2))
        layers += [_Shuffle(width, width, 1) for _ in range(repeats - 1)]
        into = width
    layers += [*_conv_norm(into, 1024, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *_scores(1024, classes))


class _UNet(nn.Module):
    """Down three times and up again, each level joined to its equal on the other side."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), classes: int = 3) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _twice(into, out) for into, out in zip((3, *widths), widths, strict=False)
        )
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(into, out, 2, 2) for into, out in pairs)
        self.up = nn.ModuleList(_twice(2 * out, out) for _, out in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels: list[Tensor] = []
        for down in self.down:
            x = down(F.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for grow, up, level in zip(self.grow, self.up, levels[-2::-1], strict=True):
            x = up(torch.cat([level, grow(x)], 1))
        return self.head(x)


def _twice(into: int, out: int) -> nn.Module:
    first = [*_conv_norm(into, out), nn.ReLU(inplace=True)]
    return nn.Sequential(*first, *_conv_norm(out, out), nn.ReLU(inplace=True))


class _Causal(nn.Module):
    """A dilated convolution that looks back alone: what is padded ahead is cut off."""

    def __init__(self, into: int, out: int, window: int, dilation: int) -> None:
        super().__init__()
        self.ahead = (window - 1) * dilation
        conv = nn.Conv1d(into, out, window, padding=self.ahead, dilation=dilation)
        self.conv = weight_norm(conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, : -self.ahead].contiguous()


class _LastOf(nn.Module):
    """The last step of (N, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, -1]


def _tcn(into: int = 2, width: int = 30, levels: int = 8, window: int = 7) -> nn.Module:
    layers: list[nn.Module] = []
    for level in range(levels):
        body: list[nn.Module] = []
        for channels in (into, width):
            body += [_Causal(channels, width, window, 2**level), nn.ReLU(), nn.Dropout(0.2)]
        shortcut = nn.Conv1d(into, width, 1) if into != width else None
        layers += [_Plus(nn.Sequential(*body), shortcut), nn.ReLU()]
        into = width
    return nn.Sequential(*layers, _LastOf(), nn.Linear(width, 1))


class _TextCnn(nn.Module):
    """Windows of three, four and five words, the strongest answer of each filter."""

    def __init__(self, vocabulary: int = 18_765, width: int = 300, filters: int = 100) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.convs = nn.ModuleList(nn.Conv1d(width, filters, window) for window in (3, 4, 5))
        self.head = nn.Linear(3 * filters, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(1, 2)  # (N, C, T)
        strongest = [F.relu(conv(x)).max(2).values for conv in self.convs]
        return self.head(F.dropout(torch.cat(strongest, 1), 0.5, self.training))


# Recurrent --------------------------------------------------------------------------------------


class _TextLstm(nn.Module):
    """Scores of what an LSTM knows after the last word."""

    def __init__(self, vocabulary: int = 20_000, width: int = 128, classes: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(ids))  # (N, T, C)
        return self.head(F.dropout(states[:, -1], 0.2, self.training))


class _LstmLanguageModel(nn.Module):
    """Two layers of LSTM and the next word's scores at every place."""

    def __init__(self, vocabulary: int = 10_000, width: int = 200) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(ids))[0])  # (N, T, V)


class _GruForecaster(nn.Module):
    """The next steps of a series from a GRU's last state."""

    def __init__(self, series: int = 7, width: int = 64, ahead: int = 24) -> None:
        super().__init__()
        self.gru = nn.GRU(series, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, ahead)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


# Attention --------------------------------------------------------------------------------------


class _TextEncoder(nn.Module):
    """The encoder of Vaswani et al. (2017) and the mean of its states."""

    def __init__(self, vocabulary: int = 10_000, length: int = 128, width: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) * math.sqrt(self.places.shape[1]) + self.places
        return self.head(self.encoder(x).mean(1))


class _Attention(nn.Module):
    """Attention with one product for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, causal: bool, bias: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.into = nn.Linear(width, 3 * width, bias)
        self.out = nn.Sequential(nn.Linear(width, width, bias), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        parts = self.into(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # each (N, heads, T, C / heads)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=self.causal
        )
        return self.out(mixed.transpose(1, 2).reshape(n, t, c))


def _attention_block(
    width: int, heads: int, *, causal: bool, bias: bool, dropout: float
) -> list[nn.Module]:
    """Return attention and a perceptron, each behind a norm and beside a shortcut."""
    mix = _Attention(width, heads, causal=causal, bias=bias, dropout=dropout)
    wide = [nn.Linear(width, 4 * width, bias), nn.GELU(), nn.Linear(4 * width, width, bias)]
    return [
        _Plus(nn.Sequential(nn.LayerNorm(width, bias=bias), mix)),
        _Plus(nn.Sequential(nn.LayerNorm(width, bias=bias), *wide, nn.Dropout(dropout))),
    ]


class _NanoGpt(nn.Module):
    """Karpathy's "baby" GPT for single characters, its head tied to its embedding."""

    def __init__(self, vocabulary: int = 65, length: int = 128, width: int = 384) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(length, width)
        blocks: list[nn.Module] = []
        for _ in range(6):
            blocks += _attention_block(width, 6, causal=True, bias=False, dropout=0.2)
        self.blocks = nn.Sequential(nn.Dropout(0.2), *blocks, nn.LayerNorm(width, bias=False))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.blocks(self.embed(ids) + self.places(places)))  # (N, T, V)


class _VisionTransformer(nn.Module):
    """ViT over 8×8 patches and one token that gathers."""

    def __init__(self, side: int = 32, patch: int = 4, width: int = 192, depth: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.gather = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks += _attention_block(width, 3, causal=False, bias=True, dropout=0.0)
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)  # (N, T, C)
        x = torch.cat([self.gather.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


# The list ---------------------------------------------------------------------------------------

_IMAGE, _CLASSES = (3, 32, 32), F.cross_entropy

MODELS: tuple[Named, ...] = (
    Named(
        "mlp", "mlp", _mlp, _labelled((784,), 10), _CLASSES, (512, 2048), "adam",
        "784-128-10, the first network of most courses",
    ),
    Named(
        "mlp-bn", "mlp", _mlp_with_norm, _labelled((784,), 10), _CLASSES, (128, 512), "adam",
        "784-512-512-10; Ioffe & Szegedy 2015, arXiv:1502.03167",
    ),
    Named(
        "tabular-resnet", "mlp", _tabular_resnet, _labelled((54,), 7), _CLASSES, (256, 1024),
        "adamw", "four blocks of 256; Gorishniy et al. 2021, arXiv:2106.11959; Covertype's shape",
    ),
    Named(
        "lenet5", "cnn", _lenet5, _labelled((1, 28, 28), 10), _CLASSES, (128, 512), "sgd",
        "LeCun et al. 1998, doi:10.1109/5.726791, linear output",
    ),
    Named(
        "resnet20", "cnn", lambda: _resnet((16, 32, 64), 3, _ZeroShortcut),
        _labelled(_IMAGE, 10), _CLASSES, (32, 128), "sgd",
        "He et al. 2016, arXiv:1512.03385, section 4.2",
    ),
    Named(
        "resnet18", "cnn", lambda: _resnet((64, 128, 256, 512), 2, _conv_shortcut),
        _labelled(_IMAGE, 10), _CLASSES, (4, 12), "sgd",
        "He et al. 2016, arXiv:1512.03385, with the first layer of CIFAR networks",
    ),
    Named(
        "vgg11", "cnn", _vgg11, _labelled(_IMAGE, 10), _CLASSES, (16, 48), "sgd",
        "Simonyan & Zisserman 2015, arXiv:1409.1556, column A, with 512 in the classifier",
    ),
    Named(
        "mobilenet-v2", "cnn", _mobilenet_v2, _labelled((3, 64, 64), 1000), _CLASSES, (16, 64),
        "sgd", "width 0.5 at 64×64; Sandler et al. 2018, arXiv:1801.04381",
    ),
    Named(
        "squeezenet", "cnn", _squeezenet, _labelled((3, 96, 96), 1000), _CLASSES, (8, 32), "sgd",
        "1.1 at 96×96; Iandola et al. 2016, arXiv:1602.07360",
    ),
    Named(
        "densenet-bc-40", "cnn", _densenet_bc, _labelled(_IMAGE, 10), _CLASSES, (16, 64), "sgd",
        "k = 12; Huang et al. 2017, arXiv:1608.06993",
    ),
    Named(
        "shufflenet-v2", "cnn", _shufflenet_v2, _labelled((3, 96, 96), 1000), _CLASSES, (16, 64),
        "sgd", "x0.5 at 96×96; Ma et al. 2018, arXiv:1807.11164",
    ),
    Named(
        "unet", "cnn", _UNet, _masks((3, 64, 64), 3), F.cross_entropy, (4, 16), "adam",
        "16 to 128 channels with batch norm; Ronneberger et al. 2015, arXiv:1505.04597",
    ),
    Named(
        "tcn", "cnn", _tcn, _numbers((2, 400), 1), F.mse_loss, (16, 64), "adam",
        "eight levels of 30, the adding problem; Bai et al. 2018, arXiv:1803.01271",
    ),
    Named(
        "text-cnn", "cnn", _TextCnn, _texts(18_765, 56, 2), _CLASSES, (50, 200), "adam",
        "CNN-rand on movie reviews; Kim 2014, arXiv:1408.5882",
    ),
    Named(
        "text-lstm", "rnn", _TextLstm, _texts(20_000, 80, 2), _CLASSES, (32, 128), "adam",
        "128 units on 80 words, as Keras' imdb_lstm; Hochreiter & Schmidhuber 1997",
    ),
    Named(
        "lstm-lm", "rnn", _LstmLanguageModel, _next_tokens(10_000, 20), _token_loss, (20, 80),
        "sgd", "small; Zaremba et al. 2014, arXiv:1409.2329",
    ),
    Named(
        "gru", "rnn", _GruForecaster, _numbers((96, 7), 24), F.mse_loss, (32, 128), "adam",
        "two layers of 64 on 96 hours of ETT; Cho et al. 2014, arXiv:1406.1078",
    ),
    Named(
        "text-transformer", "transformer", _TextEncoder, _texts(10_000, 128, 2), _CLASSES, (4, 12),
        "adamw", "4 layers of 256 on 128 tokens; Vaswani et al. 2017, arXiv:1706.03762",
    ),
    Named(
        "nanogpt", "transformer", _NanoGpt, _next_tokens(65, 128), _token_loss, (2, 6), "adamw",
        "6 layers of 384 on 128 characters; github.com/karpathy/nanoGPT, shakespeare_char",
    ),
    Named(
        "vit-tiny", "transformer", _VisionTransformer, _labelled(_IMAGE, 10), _CLASSES, (4, 16),
        "adamw", "12 layers of 192, patch 4; Touvron et al. 2021, arXiv:2012.12877",
    ),
)  # fmt: skip


def main() -> None:
    """Print what every model is, and what its capture does not know."""
    print(f"{'model':18}{'parameters':>11}{'batch':>7}  numerics{'GFLOP':>8} kernels  unknown")
    for model in MODELS:
        for numerics in ("fp32", "amp"):
            graph = capture(subject(model), numerics, target="cpu")
            flops, num = graph.flops(model.batches[1]), sum(k.count for k in graph.kernels)
            print(
                f"{model.name:18}{graph.parameters:11,}{model.batches[1]:7}  {numerics:8}"
                f"{flops / 1e9:8.2f}{num:8}  {', '.join(graph.unknown) or '-'}"
            )


if __name__ == "__main__":
    main()
