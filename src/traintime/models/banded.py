"""Convolutions with few channels, written as matrix products for CPUs.

A CPU's convolution kernels are made for many channels; with 1 or 6 of them most of their work is
bookkeeping, and max-pooling costs as much again. Here a k×k convolution over an image with few
channels becomes one product per batch: k neighbouring rows of pixels, which lie side by side in
memory (NHWC), times a banded matrix that holds the kernel once for every output column. The band is
mostly zeros, so more is multiplied than needed, but at the speed of a large matrix product.

The columns of that matrix are ordered even ones first, so the four values that a 2×2 pooling
compares are four contiguous blocks. ReLU and bias come after the maximum, on a quarter of the
values: max(a, b) + c = max(a + c, b + c), and ReLU keeps the order.

The results differ from `nn.Conv2d`, `nn.ReLU` and `nn.MaxPool2d` by rounding alone; ties in the
maximum give the gradient to the first of the equal values, as torch does.
`benchmarks/banded_convolution.py` measures what it brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traintime.architecture.layers import Conv2d


class BandedConvReluPool(nn.Conv2d):
    """A convolution with ReLU and 2×2 max-pooling behind it; its parameters are `nn.Conv2d`'s.

    Maps (B, C, H, W) to (B, C_out, H_out / 2, W_out / 2), both in channels_last order.
    """

    def __init__(self, conv: Conv2d) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel, padding=conv.padding, bias=conv.bias
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gives it
        """Return the pooled, rectified convolution."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        rows = input.permute(0, 2, 3, 1).to(dtype or input.dtype)  # (B, H, W, C)
        pad = int(self.padding[0])
        rows = F.pad(rows, (0, 0, pad, pad, pad, pad)) if pad else rows.contiguous()
        bias = self.weight.new_zeros(self.out_channels) if self.bias is None else self.bias
        return _BandedProduct.apply(rows, self.weight, bias).permute(0, 3, 1, 2)


class _BandedProduct(torch.autograd.Function):
    """(B, H, W, C) images, (O, C, k, k) weight, (O,) bias -> (B, H_out/2, W_out/2, O)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        B, H, W, C = images.shape
        O, _, k, _ = weight.shape
        out_H, out_W = H - k + 1, W - k + 1
        band = _band(weight, W, images.dtype)  # (k·W·C, out_W·O)
        # k rows that overlap with the next k rows: one copy, then a plain matrix.
        windows = images.as_strided(
            (B, out_H, k * W * C), (H * W * C, W * C, 1), images.storage_offset()
        ).reshape(B * out_H, k * W * C)
        # (B, out_H/2, 2 rows, 2 columns, out_W/2 · O)
        corners = (windows @ band).view(B, out_H // 2, 2, 2, out_W // 2 * O)
        pooled, choices = _max_of_corners(corners)
        pooled.add_(bias.to(pooled.dtype).repeat(out_W // 2)).relu_()
        ctx.save_for_backward(windows, band, pooled, *choices)
        ctx.image_shape, ctx.kernel_shape = images.shape, weight.shape
        return pooled.view(B, out_H // 2, out_W // 2, O)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        windows, band, pooled, *choices = ctx.saved_tensors
        (B, H, W, C), (O, _, k, _) = ctx.image_shape, ctx.kernel_shape
        out_H, out_W = H - k + 1, W - k + 1
        gradient = gradient.contiguous().view(pooled.shape)
        gradient = torch.ops.aten.threshold_backward(gradient, pooled, 0)
        of_bias = gradient.sum((0, 1), dtype=torch.float32).view(out_W // 2, O).sum(0)
        of_corners = _spread_to_corners(gradient, choices).view(B * out_H, out_W * O)
        of_weight = _sum_band(windows.t() @ of_corners, ctx.kernel_shape, W)
        of_images = None
        if ctx.needs_input_grad[0]:
            of_windows = (of_corners @ band.t()).view(B, out_H, k, W * C)
            of_images = of_windows.new_zeros(B, H, W * C)
            for row in range(k):
                of_images[:, row : row + out_H] += of_windows[:, :, row]
            of_images = of_images.view(B, H, W, C)
        return of_images, of_weight, of_bias


def _diagonals(band: Tensor) -> Tensor:
    """View (k, W, C, out_W, O) as (k, k, C, O, out_W): each kernel value wherever it stands."""
    k_rows, W, C, out_W, O = band.shape
    row, column, channel, out_column, _ = band.stride()
    k = W - out_W + 1
    return band.as_strided((k_rows, k, C, O, out_W), (row, column, channel, 1, column + out_column))


def _band(weight: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix that holds the kernel once per output column, even columns first.

    Args:
        weight: (O, C, k, k).
        width: W, pixels in a row of the image.
        dtype: Of the product.

    Returns:
        (k·W·C, out_W·O).
    """
    O, C, k, _ = weight.shape
    out_W = width - k + 1
    band = torch.zeros(k, width, C, out_W, O, dtype=dtype)
    _diagonals(band).copy_(weight.permute(2, 3, 1, 0).unsqueeze(-1).expand(k, k, C, O, out_W))
    by_parity = band.view(k, width, C, out_W // 2, 2, O).transpose(3, 4)
    return by_parity.reshape(k * width * C, out_W * O)


def _sum_band(gradient: Tensor, kernel_shape: torch.Size, width: int) -> Tensor:
    """Return the gradient (O, C, k, k) of a kernel from that of its band (k·W·C, out_W·O)."""
    O, C, k, _ = kernel_shape
    out_W = width - k + 1
    in_order = gradient.view(k, width, C, 2, out_W // 2, O).transpose(3, 4).contiguous()
    diagonals = _diagonals(in_order.view(k, width, C, out_W, O))
    return diagonals.sum(-1, dtype=torch.float32).permute(3, 2, 0, 1)


def _max_of_corners(corners: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return the maxima (B, H, N) of (B, H, 2, 2, N), and where they came from.

    The choices are 1 where the right one of the upper two, the right one of the lower two, and the
    lower row won. They have the dtype of the values: elementwise products of one dtype are several
    times faster than products with booleans.
    """
    upper_left, upper_right = corners[:, :, 0, 0], corners[:, :, 0, 1]
    lower_left, lower_right = corners[:, :, 1, 0], corners[:, :, 1, 1]
    upper = torch.maximum(upper_left, upper_right)
    lower = torch.maximum(lower_left, lower_right)
    choices = (
        _is_greater(upper_right, upper_left),
        _is_greater(lower_right, lower_left),
        _is_greater(lower, upper),
    )
    return torch.maximum(upper, lower), choices


def _is_greater(a: Tensor, b: Tensor) -> Tensor:
    return torch.gt(a, b, out=torch.empty(a.shape, dtype=a.dtype))


def _spread_to_corners(gradient: Tensor, choices: Sequence[Tensor]) -> Tensor:
    """Return the gradient (B, H, 2, 2, N) of the corners from that of their maxima (B, H, N)."""
    right_of_upper, right_of_lower, lower_won = choices
    B, H, N = gradient.shape
    corners = gradient.new_empty(B, H, 2, 2, N)
    of_lower = gradient * lower_won
    of_upper = gradient - of_lower
    for row, of_row, right in ((0, of_upper, right_of_upper), (1, of_lower, right_of_lower)):
        torch.mul(of_row, right, out=corners[:, :, row, 1])
        torch.sub(of_row, corners[:, :, row, 1], out=corners[:, :, row, 0])
    return corners
