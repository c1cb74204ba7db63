"""Time training steps of random networks on this machine's CPU, and the operations in them.

    .venv/bin/python calibration/cpu_steps.py            # writes results/cpu_steps.json.gz
    .venv/bin/python calibration/cpu_steps.py --group depthwise --num 28 --seed 8

Networks of four families are drawn with a seed: fully connected, convolutional (over images and
over time), recurrent and attention, of sizes that a desktop trains. None of them is a network that
anyone knows by name, so those stay unseen. Each is timed in fp32 and under bf16 autocast.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from op_times import time_ops
from traintime.forecast.processor_probes import measure_processor
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.processor import ProcessorRates
from traintime.hardware.timer import time_calls
from traintime.workload.capture import Subject, capture
from traintime.workload.kernels import KernelGraph

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One random network.

    Args:
        name: Tells how to make it again.
        family: "mlp", "cnn", "rnn" or "transformer".
        build: Makes the network.
        inputs: Makes a batch of so many samples.
        batch_size: Samples of a step.
        labels: Of a sample.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    batch_size: int
    labels: int = 1


@dataclass(frozen=True)
class Timed:
    """One timing.

    Args:
        case: Name of the network or layer.
        family: What it is made of.
        batch_size: Samples of a step.
        precision: "fp32", or "bf16" for autocast.
        optimizer: Name; none where nothing is updated.
        step_s: A step, in the median.
        ops_s: By `op_times.key_of`, seconds in one step.
        processor: What the processor sustained right before and after.
    """

    case: str
    family: str
    batch_size: int
    precision: str
    optimizer: str
    step_s: float
    ops_s: dict[str, float]
    processor: tuple[ProcessorRates, ...]


def cases(num: int, seed: int = 1, group: str = "random") -> Iterator[Case]:
    """Yield random networks of a group of `GROUPS`, its families in turn."""
    makers = GROUPS[group]
    for index in range(num):
        draw = random.Random(f"{seed}-{index}")
        yield makers[index % len(makers)](f"{group}-{seed}-{index}", draw)


def _power(draw: random.Random, low: int, high: int) -> int:
    return round(2 ** draw.uniform(low, high))


def _mlp(name: str, draw: random.Random) -> Case:
    widths = [_power(draw, 4, 11) for _ in range(draw.randint(2, 5))]
    norm, dropout = draw.random() < 0.3, draw.choice([0.0, 0.0, 0.2])

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for into, out in itertools.pairwise(widths):
            layers += [nn.Linear(into, out), *([nn.BatchNorm1d(out)] if norm else []), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*layers, nn.Linear(widths[-1], 10))

    return Case(name, "mlp", build, lambda b: torch.randn(b, widths[0]), _power(draw, 4, 9))


class _Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Add what the body makes of x to x."""
        return torch.relu(x + self.body(x))


def _cnn(name: str, draw: random.Random) -> Case:
    side, into = draw.choice([16, 28, 32, 48, 64, 96]), draw.choice([1, 3, 3])
    stages, norm = draw.randint(2, 4), draw.random() < 0.7
    style = draw.choice(["plain", "residual", "depthwise", "grouped"])
    act = draw.choice([nn.ReLU, nn.ReLU, nn.SiLU, nn.GELU])
    width, window = draw.choice([16, 24, 32, 48, 64]), draw.choice([3, 3, 3, 5])

    def conv(a: int, b: int, k: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        layer = nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=not norm)
        return [layer, *([nn.BatchNorm2d(b)] if norm else [])]

    def block(channels: int) -> nn.Module:
        if style == "plain":
            return nn.Sequential(*conv(channels, channels, window), act())
        if style == "residual":
            body = [*conv(channels, channels, 3), act(), *conv(channels, channels, 3)]
            return _Residual(nn.Sequential(*body))
        groups = channels if style == "depthwise" else 4
        wide = [*conv(channels, 2 * channels, 1), act()]
        middle = [*conv(2 * channels, 2 * channels, 3, groups=min(groups, 2 * channels)), act()]
        return _Residual(nn.Sequential(*wide, *middle, *conv(2 * channels, channels, 1)))

    def build() -> nn.Module:
        layers: list[nn.Module] = [*conv(into, width, window), act()]
        channels = width
        for _ in range(stages):
            layers += [block(channels), *conv(channels, 2 * channels, 3, stride=2), act()]
            channels *= 2
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)
        )

    batch = max(4, _power(draw, 3, 7) * 32 // side)
    return Case(name, "cnn", build, lambda b: torch.randn(b, into, side, side), min(batch, 128))


def _signal(name: str, draw: random.Random) -> Case:
    """Convolutions over time, dilated or of several windows at once, as for series and text."""
    into, length = draw.choice([1, 16, 64, 128, 300]), _power(draw, 5, 9)
    width, window, layers = _power(draw, 4, 8), draw.choice([2, 3, 5, 7]), draw.randint(1, 6)
    dilated, norm = draw.random() < 0.5, draw.random() < 0.3

    def build() -> nn.Module:
        parts: list[nn.Module] = []
        channels = into
        for layer in range(layers):
            dilation = 2**layer if dilated and 2**layer * window < length else 1
            padding = dilation * (window - 1) // 2
            parts += [nn.Conv1d(channels, width, window, padding=padding, dilation=dilation)]
            parts += [*([nn.BatchNorm1d(width)] if norm else []), nn.ReLU()]
            channels = width
        return nn.Sequential(*parts, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(width, 10))

    return Case(name, "cnn", build, lambda b: torch.randn(b, into, length), _power(draw, 3, 7))


def _small_cnn(name: str, draw: random.Random) -> Case:
    """Few channels, wide windows and pooling, as in the first networks for digits."""
    side, into = draw.choice([28, 32, 64]), draw.choice([1, 1, 3])
    widths = [draw.choice([4, 6, 8, 12, 16, 20, 32]) for _ in range(draw.randint(1, 3))]
    window, act = draw.choice([3, 5, 5, 7]), draw.choice([nn.ReLU, nn.Tanh, nn.Sigmoid])
    pool = draw.choice([nn.MaxPool2d, nn.AvgPool2d])

    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for a, b in itertools.pairwise([into, *widths]):
            parts += [nn.Conv2d(a, b, window, padding=window // 2), act(), pool(2)]
        flat = widths[-1] * (side >> len(widths)) ** 2
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(flat, 84), act(), nn.Linear(84, 10))

    return Case(name, "cnn", build, lambda b: torch.randn(b, into, side, side), _power(draw, 5, 9))


class _Recurrent(nn.Module):
    def __init__(self, kind: str, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        core = nn.LSTM if kind == "lstm" else nn.GRU
        self.core = core(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (N, 10) scores of (N, T) ids."""
        return self.head(self.core(self.embed(ids))[0][:, -1])


def _rnn(name: str, draw: random.Random) -> Case:
    kind, width = draw.choice(["lstm", "lstm", "gru"]), _power(draw, 5, 9)
    layers, length = draw.randint(1, 2), _power(draw, 3.5, 7)
    vocabulary = draw.choice([100, 1000, 10_000])
    return Case(
        name,
        "rnn",
        lambda: _Recurrent(kind, vocabulary, width, layers),
        lambda b: torch.randint(0, vocabulary, (b, length)),
        _power(draw, 3, 6),
    )


class _Encoder(nn.Module):
    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, wide: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, heads, wide, batch_first=True, dropout=0.1)
        self.core = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (N, 10) scores of (N, T) ids."""
        return self.head(self.core(self.embed(ids)).mean(1))


def _transformer(name: str, draw: random.Random) -> Case:
    heads, width = draw.choice([2, 4, 8]), 64 * draw.randint(1, 6)
    layers, length = draw.randint(1, 4), _power(draw, 4.5, 8)
    vocabulary, wide = draw.choice([1000, 10_000]), width * draw.choice([2, 4])
    return Case(
        name,
        "transformer",
        lambda: _Encoder(vocabulary, width, heads, layers, wide),
        lambda b: torch.randint(0, vocabulary, (b, length)),
        _power(draw, 2, 5),
    )


def _mobile(name: str, draw: random.Random) -> Case:
    """Blocks that widen, convolve each channel alone, and narrow again (Sandler et al. 2018)."""
    side, width = draw.choice([32, 48, 64, 96]), draw.choice([8, 16, 24, 32])
    widening, window = draw.choice([1, 2, 4, 6]), draw.choice([3, 3, 3, 5])
    act = draw.choice([nn.ReLU, nn.ReLU6, nn.SiLU])
    stages, depth = draw.randint(2, 4), draw.randint(1, 3)

    def conv(a: int, b: int, k: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b)]

    def block(into: int, out: int, stride: int) -> nn.Module:
        wide = into * widening
        first = [*conv(into, wide, 1), act()] if widening > 1 else []
        alone = [*conv(wide, wide, window, stride, groups=wide), act()]
        body = nn.Sequential(*first, *alone, *conv(wide, out, 1))
        return _Residual(body) if stride == 1 and into == out else body

    def build() -> nn.Module:
        layers, channels = [*conv(3, width, 3), act()], width
        for stage in range(stages):
            out = width * 2**stage
            layers.append(block(channels, out, 2 if stage else 1))
            layers += [block(out, out, 1) for _ in range(depth)]
            channels = out
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, *pool, nn.Linear(channels, 10))

    return Case(name, "cnn", build, lambda b: torch.randn(b, 3, side, side), _power(draw, 1, 6))


GROUPS = {
    "random": (_mlp, _cnn, _cnn, _rnn, _transformer, _signal, _small_cnn),
    "depthwise": (_mobile,),
}
"""Families in turn. Where `_cnn` says depthwise, two channels are convolved together."""


def make_step(case: Case, precision: str, optimizer: str) -> Callable[[], None]:
    """Return a call that trains one step on one batch."""
    torch.manual_seed(0)
    module, x = case.build().train(), case.inputs(case.batch_size)
    y = torch.randint(0, 10, (case.batch_size * case.labels,))
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    extra = {"momentum": 0.9} if optimizer == "sgd" else {}
    update = make(module.parameters(), lr=1e-4, **extra)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores = module(x)
        nn.functional.cross_entropy(scores.float(), y).backward()
        update.step()
        update.zero_grad()

    return step


def main() -> None:
    """Time them all, writing as it goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num", type=int, default=120)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--budget", type=float, default=0.2, help="seconds for one timing")
    parser.add_argument("--group", choices=list(GROUPS), default="random")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    like = "" if given.group == "random" else f"_{given.group}"
    out = given.out or HERE / "results" / f"cpu_steps{like}.json.gz"
    keep_freed_memory()
    timed: list[Timed] = []
    began = perf_counter()
    for index, case in enumerate(cases(given.num, given.seed, given.group)):
        optimizer = "adam" if index % 2 else "sgd"
        timed += [
            time_case(case, graph_of(case, precision), precision, optimizer, given.budget)
            for precision in ("fp32", "bf16")
        ]
        print(
            f"{perf_counter() - began:5.0f} s  {case.name} {case.family} "
            f"{timed[-2].step_s * 1e3:.2f} {timed[-1].step_s * 1e3:.2f} ms",
            flush=True,
        )
    write(out, timed)


def time_case(
    case: Case, graph: KernelGraph, precision: str, optimizer: str, budget_s: float
) -> Timed:
    """Return how long a network's steps take, with the processor's rates before and after.

    Args:
        case: What to train.
        graph: What it launches.
        precision: "fp32", or "bf16" for autocast.
        optimizer: "sgd" with momentum, "adam" or "adamw".
        budget_s: For whole steps; operations get half of it.
    """
    step = make_step(case, precision, optimizer)
    before = measure_processor()
    timing = time_calls(step, budget_s=budget_s, most_calls=200)
    after = measure_processor()
    return Timed(
        case=case.name,
        family=case.family,
        batch_size=case.batch_size,
        precision=precision,
        optimizer=optimizer,
        step_s=timing.median_s,
        ops_s=time_ops(step, graph, budget_s=budget_s / 2, most=10),
        processor=(before, after),
    )


def graph_of(case: Case, precision: str) -> KernelGraph:
    """Return what a random network launches on a CPU."""
    module = case.build().train()
    subject = Subject(case.name, "random", module, lambda b, _: ((case.inputs(b),), {}), ())
    return capture(subject, "amp" if precision == "bf16" else "fp32", target="cpu")


def write(path: Path, timed: Sequence[Timed]) -> None:
    """Keep timings, four digits of each figure."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(_short([asdict(one) for one in timed]), separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read(path: Path) -> list[Timed]:
    """Return timings that `write` kept."""
    rows = json.loads(gzip.decompress(path.read_bytes()))
    rates = [tuple(ProcessorRates(**one) for one in row.pop("processor")) for row in rows]
    return [Timed(**row, processor=of) for row, of in zip(rows, rates, strict=True)]


def _short(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {key: _short(item) for key, item in value.items()}
        case list() | tuple():
            return [_short(item) for item in value]
        case _:
            return value


if __name__ == "__main__":
    main()
