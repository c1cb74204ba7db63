"""Convolution, ReLU and 2×2 max-pooling as one strided convolution, for few channels on CPUs.

Pooling compares the four values of each 2×2 square. Each of the four is a convolution of its own
with stride 2, and the four kernels are one kernel, shifted by (0, 0), (0, 1), (1, 0) and (1, 1). So
a single convolution with stride 2, four times the output channels and kernels larger by one row and
one column of zeros gives the four corners of all squares as four contiguous blocks, and pooling
becomes three elementwise maxima. ReLU and bias come after them, on a quarter of the values:
max(a, b) + c = max(a + c, b + c), and ReLU keeps the order.

For a kernel of 5×5 that is 1.44 times the arithmetic. It pays because a CPU's kernels are made for
many channels, and because torch's max-pooling of few channels costs as much as the convolution.
`benchmarks/fused_convolution.py` measures what it brings.

The results differ from `nn.Conv2d`, `nn.ReLU` and `nn.MaxPool2d` by rounding alone; ties in the
maximum give the gradient to the first of the equal values, as torch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from traintime.architecture.layers import Conv2d

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
Choices = tuple[Tensor, Tensor, Tensor]


class FusedConvReluPool(nn.Conv2d):
    """A convolution with ReLU and 2×2 max-pooling behind it; its parameters are `nn.Conv2d`'s.

    Maps (B, C, H, W) to (B, C_out, H_out / 2, W_out / 2).
    """

    def __init__(self, conv: Conv2d) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel, padding=conv.padding, bias=conv.bias
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gives it
        """Return the pooled, rectified convolution."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        images = input.to(dtype or input.dtype).contiguous()
        bias = self.weight.new_zeros(self.out_channels) if self.bias is None else self.bias
        return _Fused.apply(images, self.weight, bias, int(self.padding[0]))


class _Fused(torch.autograd.Function):
    """(B, C, H, W) images, (O, C, k, k) weight, (O,) bias -> (B, O, H_out/2, W_out/2)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        wide = _four_shifted(weight.to(images.dtype))  # (4·O, C, k + 1, k + 1)
        corners = torch.conv2d(images, wide, stride=2, padding=padding).contiguous()
        corners = corners.unflatten(1, (4, -1))  # (B, 4, O, H_out/2, W_out/2)
        pooled, choices = _max_of_corners(corners)
        pooled.add_(bias.to(pooled.dtype).view(-1, 1, 1)).relu_()
        ctx.save_for_backward(images, weight, wide, pooled, *choices)
        ctx.padding = padding
        return pooled

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None]:
        images, weight, wide, pooled, *choices = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient.contiguous(), pooled, 0)
        of_bias = gradient.sum((0, 2, 3), dtype=torch.float32)
        of_corners = _spread_to_corners(gradient, choices)  # (B, 4, O, H_out/2, W_out/2)
        if ctx.needs_input_grad[0]:
            kernel = weight.to(images.dtype)
            of_images, of_weight = _plain_backward(images, kernel, of_corners, ctx.padding)
        else:
            of_images = None
            of_weight = _wide_backward(images, wide, of_corners, ctx.padding)
        return of_images, of_weight.float(), of_bias, None


def _four_shifted(weight: Tensor) -> Tensor:
    """Return a kernel (O, C, k, k) once per corner, shifted: (4·O, C, k + 1, k + 1)."""
    outputs, inputs, k, _ = weight.shape
    wide = weight.new_zeros(4, outputs, inputs, k + 1, k + 1)
    for corner, (row, column) in enumerate(CORNERS):
        wide[corner, :, :, row : row + k, column : column + k] = weight
    return wide.flatten(0, 1)


def _max_of_corners(corners: Tensor) -> tuple[Tensor, Choices]:
    """Return the maxima (B, O, h, w) of (B, 4, O, h, w), and where they came from.

    The choices are 1 where the right one of the upper two, the right one of the lower two, and the
    lower row won. They have the dtype of the values: elementwise products of one dtype are several
    times faster than products with booleans.
    """
    upper_left, upper_right, lower_left, lower_right = corners.unbind(1)
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
    """Return the gradient (B, 4, O, h, w) of the corners from that of their maxima (B, O, h, w)."""
    right_of_upper, right_of_lower, lower_won = choices
    batch, *rest = gradient.shape
    corners = gradient.new_empty(batch, 4, *rest)
    of_lower = gradient * lower_won
    of_upper = gradient - of_lower
    for left, of_row, right in ((0, of_upper, right_of_upper), (2, of_lower, right_of_lower)):
        torch.mul(of_row, right, out=corners[:, left + 1])
        torch.sub(of_row, corners[:, left + 1], out=corners[:, left])
    return corners


def _wide_backward(images: Tensor, wide: Tensor, of_corners: Tensor, padding: int) -> Tensor:
    """Return the gradient (O, C, k, k) of the kernel, by way of the strided convolution."""
    _, of_wide, _ = torch.ops.aten.convolution_backward(
        of_corners.flatten(1, 2), images, wide, None,
        [2, 2], [padding, padding], [1, 1], False, [0, 0], 1, [False, True, False],
    )  # fmt: skip
    parts = of_wide.unflatten(0, (4, -1))
    k = wide.shape[-1] - 1
    return sum(
        (
            parts[corner, :, :, row : row + k, column : column + k]
            for corner, (row, column) in enumerate(CORNERS)
        ),
        start=torch.zeros((), dtype=parts.dtype),
    )


def _plain_backward(
    images: Tensor, weight: Tensor, of_corners: Tensor, padding: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of images and kernel, by way of the plain convolution.

    Its backward for the images is faster than that of a strided one.
    """
    batch, _, outputs, height, width = of_corners.shape
    squares = of_corners.view(batch, 2, 2, outputs, height, width).permute(0, 3, 4, 1, 5, 2)
    of_plain = squares.reshape(batch, outputs, 2 * height, 2 * width)
    of_images, of_weight, _ = torch.ops.aten.convolution_backward(
        of_plain, images, weight, None,
        [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    return of_images, of_weight
