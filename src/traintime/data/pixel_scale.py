"""From pixels of one byte to what a network takes, by one fused multiply-add."""

from __future__ import annotations

import torch
from torch import Tensor

from traintime.data.pixel_statistics import BRIGHTEST


class PixelScale:
    """Normalises images, in the memory format that a network wants them in.

    Args:
        shape: Of one image: (H, W, C).
        device: Where the images are.
        mean: (C,), subtracted from pixels on a scale of 0 to 1.
        std: (C,), what they are divided by afterwards.
        dtype: Of the normalised images.
        memory_format: `torch.channels_last` or `torch.contiguous_format`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        device: torch.device | str,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._channels_last = memory_format == torch.channels_last
        # (x / 255 - mean) / std = offset + x * scale, with a value for every place of a row: whole
        # rows go through one loop without broadcasting, whatever the memory format.
        self._scale = self._row_of(1 / (BRIGHTEST * std), shape).to(device)
        self._offset = self._row_of(-mean / std, shape).to(device)
        self._dtype = dtype
        height, width, channels = shape
        self._shape = shape if self._channels_last else (channels, height, width)

    def rows(self, images: Tensor) -> Tensor:
        """Return images (B, H, W, C) as rows (B, H*W*C) in the order of the memory format."""
        if not self._channels_last:
            images = images.permute(0, 3, 1, 2).contiguous()
        return images.view(len(images), -1)

    def _row_of(self, per_channel: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return a value per channel, (C,), as one for every place of a row, (H*W*C,)."""
        everywhere = per_channel.float().expand((1, *shape))  # (1, H, W, C)
        if not self._channels_last:
            everywhere = everywhere.permute(0, 3, 1, 2)
        return everywhere.reshape(-1).contiguous()

    def normalised(self, rows: Tensor) -> Tensor:
        """Return the normalised images (B, C, H, W) of rows of uint8, (B, H*W*C)."""
        images = torch.addcmul(self._offset, rows, self._scale)
        if self._dtype != torch.float32:
            images = images.to(self._dtype)
        images = images.view(-1, *self._shape)
        return images.permute(0, 3, 1, 2) if self._channels_last else images
