"""Cases that move bytes: normalizations, elementwise operations, copies, pooling, updates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gpu.cases import Case, Maker, applied, backward_of, both
from gpu.clocks import Call
from gpu.precisions import TRAFFIC_PRECISIONS
from traintime.workload.op_rules import Counted

BATCH_NORMS = ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7))


def normalizations() -> Iterator[Case]:
    """Batch, layer and group norm, softmax of attention scores and of a vocabulary."""
    for rows, width in ((512, 768), (8192, 768), (50432, 384), (200704, 96), (2048, 4096)):
        name = f"{rows}×{width}"
        norm = partial(_layer_norm, width)
        yield from both(name, TRAFFIC_PRECISIONS, norm, (rows, width), (width,), (width,))
    group_norm = partial(F.group_norm, num_groups=32)
    yield from both("group norm", TRAFFIC_PRECISIONS, group_norm, (16, 256, 64, 64))
    softmax = partial(F.softmax, dim=-1)
    for rows, width in ((12 * 8 * 128, 128), (12 * 16 * 512, 512), (96 * 197, 197), (4096, 50257)):
        yield from both(f"{rows}×{width}", TRAFFIC_PRECISIONS, softmax, (rows, width))
    log_softmax = partial(F.log_softmax, dim=-1)
    yield from both("log 8192×50257", ("fp32",), log_softmax, (8192, 50257))
    for samples, (channels, side) in itertools.product((16, 64), BATCH_NORMS):
        shape = (samples, channels, side, side)
        name = "×".join(map(str, shape))
        for memory_format in ("contiguous", "channels_last"):
            for role, precision in itertools.product(("forward", "backward"), TRAFFIC_PRECISIONS):
                make = partial(_batch_norm, role, shape)
                yield Case(name, role, precision, memory_format, make)


def _batch_norm(role: str, shape: tuple[int, ...], make: Maker) -> Call:
    """Weights and statistics stay in fp32, as under autocast."""
    x = make(*shape, grad=True)
    weight, bias = (make(shape[1], grad=True, dtype=torch.float32) for _ in range(2))
    mean, variance = (make(shape[1], dtype=torch.float32) for _ in range(2))

    def forward() -> Tensor:
        return F.batch_norm(x, mean, variance, weight, bias, training=True)

    return forward if role == "forward" else backward_of(forward(), [x, weight, bias])


def _layer_norm(width: int, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x, (width,), weight, bias)


def elementwise() -> Iterator[Case]:
    """One value out for each value in, from a few to a billion bytes."""
    for values in (2**10, 2**14, 2**18, 2**21, 2**24, 2**28):
        for name, function in (("add", torch.add), ("mul", torch.mul)):
            make = partial(applied, function, ((values,), (values,)))
            for precision in TRAFFIC_PRECISIONS:
                yield Case(f"{name} {values}", "forward", precision, "", make)
        for name, function in (
            *(("gelu", F.gelu), ("relu", F.relu), ("silu", F.silu)),
            ("dropout", partial(F.dropout, p=0.1)),
        ):
            yield from both(f"{name} {values}", TRAFFIC_PRECISIONS, function, (values,))


def moves() -> Iterator[Case]:
    """Reductions, copies, casts and changes of layout."""
    image = (64, 256, 56, 56)
    operations: tuple[tuple[str, Callable[..., Tensor], tuple[int, ...]], ...] = (
        ("sum of rows", partial(torch.sum, dim=0), (8192, 768)),
        ("sum to one", torch.sum, (2**26,)),
        ("sum of many rows", partial(torch.sum, dim=0), (200704, 384)),
        ("mean of columns", partial(torch.mean, dim=1), (50432, 768)),
        ("mean of places", partial(torch.mean, dim=(2, 3)), image),
        ("clone of a little", torch.clone, (2**14,)),
        ("clone", torch.clone, (2**26,)),
        ("clone of much", torch.clone, (2**29,)),
        ("transposed copy", lambda x: x.t().contiguous(), (8192, 4096)),
        ("cat", lambda x: torch.cat((x, x), 1), (64, 256, 28, 28)),
        ("to channels_last", lambda x: x.contiguous(memory_format=torch.channels_last), image),
        ("to other width", _cast, (2**26,)),
        ("to other width, small", _cast, (2**18,)),
    )
    for (name, function, shape), precision in itertools.product(operations, TRAFFIC_PRECISIONS):
        make = partial(applied, function, (shape,))
        yield Case(name, "forward", precision, "contiguous" if len(shape) == 4 else "", make)


def _cast(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16 if x.dtype == torch.float32 else torch.float32)


def pooling() -> Iterator[Case]:
    """Pooling and resizing of images."""
    operations = (
        ("mean of all", partial(F.adaptive_avg_pool2d, output_size=1), 2048, 7),
        ("max 3×3/2", partial(F.max_pool2d, kernel_size=3, stride=2, padding=1), 64, 112),
        ("max 2×2/2", partial(F.max_pool2d, kernel_size=2), 128, 112),
        ("mean 3×3", partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1), 256, 28),
        ("twice as large, nearest", partial(F.interpolate, scale_factor=2.0), 128, 64),
        (
            "twice as large, bilinear",
            partial(F.interpolate, scale_factor=2.0, mode="bilinear", align_corners=False),
            *(128, 64),
        ),
    )
    for name, function, channels, side in operations:
        for memory_format in ("contiguous", "channels_last"):
            shape = (32, channels, side, side)
            yield from both(name, TRAFFIC_PRECISIONS, function, shape, memory_format=memory_format)


def lookups() -> Iterator[Case]:
    """Rows of a table by number, and the table's gradient."""
    for rows, vocabulary, width in ((65536, 1000, 64), (2048, 30522, 768), (16384, 50257, 768)):
        for role, precision in itertools.product(("forward", "backward"), TRAFFIC_PRECISIONS):
            make = partial(_look_up, role, rows, vocabulary, width)
            yield Case(f"{rows} of {vocabulary}×{width}", role, precision, "", make)


def _look_up(role: str, rows: int, vocabulary: int, width: int, make: Maker) -> Call:
    table, numbers = make(vocabulary, width, grad=True), make.numbers(vocabulary, rows)
    if role == "forward":
        return lambda: F.embedding(numbers, table)
    return backward_of(F.embedding(numbers, table), [table])


# Values read and written per parameter: AdamW p, g, m, v and p, m, v; SGD p, g, m and p, m.
UPDATES: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any], int, int]] = {
    "adamw": (torch.optim.AdamW, {"lr": 1e-3}, 4, 3),
    "sgd": (torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, 3, 2),
}


def updates() -> Iterator[Case]:
    """Optimizer steps on fp32 weights, in one kernel for many tensors or one for each operation."""
    sizes = ((2**20, 10), (25_600_000, 160), (2**27, 160))
    for (values, tensors), name, way in itertools.product(sizes, UPDATES, ("fused", "foreach")):
        _, _, read, written = UPDATES[name]
        moved = (4.0 * read * values, 4.0 * written * values)
        counted = Counted(f"{way} {name}", "optimizer", 0.0, *moved)
        make = partial(_update, name, way, values, tensors)
        yield Case(f"{values} values in {tensors} tensors", "forward", "fp32", "", make, counted)


def _update(name: str, way: str, values: int, tensors: int, make: Maker) -> Call:
    parameters = [make(values // tensors, grad=True) for _ in range(tensors)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    kind, settings, _, _ = UPDATES[name]
    return kind(parameters, **settings, **{way: True}).step
