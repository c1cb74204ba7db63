"""Cases that a matrix engine computes: products, convolutions, attention, recurrent networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from gpu.cases import Case, Maker, backward_of, both
from gpu.clocks import Call
from gpu.precisions import MATRIX_PRECISIONS

aten = torch.ops.aten


def matrix_products() -> Iterator[Case]:
    """Products on a grid, slim and misaligned ones, and those of well-known models."""
    grid = itertools.product((16, 128, 1024, 8192), (64, 256, 1024, 4096), (64, 256, 1024, 4096))
    known = (
        *((25216, 3072, 768), (25216, 768, 3072), (50176, 384, 96), (8192, 50257, 768)),
        *((8192, 50304, 768), (4096, 11008, 4096), (256, 1000, 2048), (8192, 8192, 8192)),
        *((1, 4096, 4096), (4096, 1, 4096), (256, 10, 512), (65536, 16, 16), (65536, 96, 27)),
        *((1023, 1023, 1023), (1024, 1001, 1024), (1024, 1024, 1001), (4099, 4099, 4099)),
    )
    backward = itertools.product((1024, 8192), (256, 1024, 4096), (256, 1024, 4096))
    weight = itertools.product((256, 1024, 4096), (256, 1024, 4096), (1024, 8192, 32768))
    by_role = {"forward": (*grid, *known), "backward": backward, "weight": weight}
    for role, all_sides in by_role.items():
        for sides, precision in itertools.product(all_sides, MATRIX_PRECISIONS):
            name = "×".join(map(str, sides))
            yield Case(name, role, precision, "", partial(_product, role, (), *sides))


def batched_products() -> Iterator[Case]:
    """Scores and sums of attention, without a kernel of their own."""
    for length, batch, width in itertools.product((49, 197, 512, 1024), (12, 96, 768), (32, 64)):
        if batch * length**2 > 2**28:
            continue
        for sides in ((length, length, width), (length, width, length)):
            name = f"{batch} of " + "×".join(map(str, sides))
            for precision in MATRIX_PRECISIONS:
                make = partial(_product, "forward", (batch,), *sides)
                yield Case(name, "forward", precision, "", make)


def _product(
    role: str, batch: tuple[int, ...], rows: int, columns: int, inner: int, make: Maker
) -> Call:
    left = make(*batch, inner, rows).mT if role == "weight" else make(*batch, rows, inner)
    right = make(*batch, columns, inner).mT if role == "forward" else make(*batch, inner, columns)
    multiply = torch.bmm if batch else torch.mm
    return lambda: multiply(left, right)


@dataclass(frozen=True)
class Convolution:
    """A convolution's sizes; its padding keeps the side, unless windows do not overlap."""

    channels_in: int
    channels_out: int
    side: int
    window: int
    stride: int
    groups: int

    def __str__(self) -> str:
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        window = f"{self.window}×{self.window}/{self.stride}"
        return f"{self.channels_in}→{self.channels_out} {window}{groups} at {self.side}²"


# Channels in, channels out, side, window, stride, groups
CONVOLUTION_TABLE = """
3 64 32 3 1 1,  64 256 56 1 1 1,  256 64 56 1 1 1,  512 128 28 1 1 1,  256 1024 14 1 1 1
2048 512 7 1 1 1,  16 96 112 1 1 1,  24 144 56 1 1 1,  960 160 7 1 1 1,  67 131 28 1 1 1
256 512 56 1 2 1,  1024 2048 14 1 2 1
64 64 56 3 1 1,  128 128 28 3 1 1,  256 256 14 3 1 1,  512 512 7 3 1 1,  64 64 224 3 1 1
256 256 56 3 1 1,  512 512 28 3 1 1,  128 128 56 3 2 1,  256 256 28 3 2 1,  512 512 14 3 2 1
3 32 224 3 2 1,  64 64 28 5 1 1,  3 64 224 7 2 1,  3 96 224 4 4 1,  3 768 224 16 16 1
128 128 56 3 1 32,  256 256 28 3 1 32,  512 512 14 3 1 32,  1024 1024 7 3 1 32
256 256 56 3 2 32,  224 224 28 3 1 4
32 32 112 3 1 32,  144 144 56 3 1 144,  384 384 14 3 1 384,  960 960 7 3 1 960
240 240 28 5 1 240,  672 672 14 5 1 672,  96 96 56 7 1 96,  192 192 28 7 1 192
384 384 14 7 1 384,  768 768 7 7 1 768,  96 96 112 3 2 96
"""
CONVOLUTIONS = tuple(
    Convolution(*map(int, sizes.split()))
    for sizes in CONVOLUTION_TABLE.strip().replace("\n", ",").split(",")
)
CONVOLUTION_VARIANTS = (
    *(("fp32", "contiguous"), ("tf32", "contiguous"), ("tf32", "channels_last")),
    *(("bf16", "channels_last"), ("bf16", "contiguous"), ("fp16", "channels_last")),
)


def convolutions() -> Iterator[Case]:
    """Forward, input's gradient and weight's gradient, each on its own."""
    roles = ("forward", "backward", "weight")
    for samples, convolution in itertools.product((16, 64), CONVOLUTIONS):
        for role, variant in itertools.product(roles, CONVOLUTION_VARIANTS):
            make = partial(_convolve, role, samples, convolution)
            yield Case(f"{samples} of {convolution}", role, *variant, make)


def _convolve(role: str, samples: int, sizes: Convolution, make: Maker) -> Call:
    window, stride = sizes.window, sizes.stride
    padding = window // 2 if window > stride else 0
    side_out = (sizes.side + 2 * padding - window) // stride + 1
    x = make(samples, sizes.channels_in, sizes.side, sizes.side)
    weight = make(sizes.channels_out, sizes.channels_in // sizes.groups, window, window)
    how = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], sizes.groups)
    if role == "forward":
        return lambda: aten.convolution(x, weight, None, *how)
    grad = make(samples, sizes.channels_out, side_out, side_out)
    wanted = [role == "backward", role == "weight", False]
    return lambda: aten.convolution_backward(grad, x, weight, None, *how, wanted)


def attention() -> Iterator[Case]:
    """Attention by torch's fused kernels: flash in 16 bits, memory-efficient in 32."""
    shapes = itertools.product((1, 16), (12,), (128, 512, 2048, 8192), (64, 128), (False, True))
    for batch, heads, length, width, causal in shapes:
        if batch * length > 2**15:
            continue
        name = f"{batch}×{heads}×{length}×{width}{' causal' if causal else ''}"
        attend = partial(F.scaled_dot_product_attention, is_causal=causal)
        shape = (batch, heads, length, width)
        yield from both(name, MATRIX_PRECISIONS, attend, shape, shape, shape)


def recurrent() -> Iterator[Case]:
    """An LSTM of one layer over a whole sequence."""
    sizes = ((35, 32, 256), (35, 128, 650), (256, 64, 1024))
    for (length, batch, width), role in itertools.product(sizes, ("forward", "backward")):
        for precision in MATRIX_PRECISIONS:
            make = partial(_recur, role, length, batch, width)
            yield Case(f"LSTM {length}×{batch}×{width}", role, precision, "", make)


def _recur(role: str, length: int, batch: int, width: int, make: Maker) -> Call:
    layer = nn.LSTM(width, width, device=make.device, dtype=make.dtype)
    x = make(length, batch, width, grad=True)
    if role == "forward":
        return lambda: layer(x)
    return backward_of(layer(x)[0], [x, *layer.parameters()])
