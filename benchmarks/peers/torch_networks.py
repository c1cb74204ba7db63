"""The two networks in PyTorch, layer for layer those that every contender trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def network(model: str, image_shape: tuple[int, int, int] = (1, 28, 28)) -> nn.Sequential:
    """Return "lenet" or "mlp" for images (C, H, W), with PyTorch's own initial weights."""
    channels, height, width = image_shape
    if model == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(channels * height * width, 128), nn.ReLU(), nn.Linear(128, 10)
        )
    margin = 2 if height < 32 else 0  # LeNet-5 was made for 32×32
    side = ((height + 2 * margin - 4) // 2 - 4) // 2
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=margin), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(16 * side * side, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 10),
    )


def standardized(images: np.ndarray) -> torch.Tensor:
    """Return uint8 images (N, H, W, C) as float images (N, C, H, W) between -1 and 1."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return pixels.float().div_(127.5).sub_(1)


def best_device() -> torch.device:
    """Return the accelerator if there is one, as the tutorials do."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
