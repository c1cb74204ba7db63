"""Networks whose graphs are shipped and that no package has."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """U-Net for images of 3 channels and 2 classes, with padding and batch norm.

    References:
        Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        its five levels of 64 to 1024 channels; padded and normalised as today's copies are.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        pairs = list(pairwise(widths))
        self.first = _two_convolutions(in_channels, widths[0])
        self.down = nn.ModuleList(_two_convolutions(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.join = nn.ModuleList(_two_convolutions(b, a) for a, b in reversed(pairs))
        self.last = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes, H, W)."""
        kept = [self.first(x)]
        for down in self.down:
            kept.append(down(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([kept.pop(), up(x)], 1))
        return self.last(x)


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (in_channels, out_channels):
        layers += [nn.Conv2d(inputs, out_channels, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class LstmLanguageModel(nn.Module):
    """Two layers of 650 LSTM units on 10,000 words.

    References:
        Zaremba et al. 2014, "Recurrent Neural Network Regularization": the medium network, half of
        what is not recurrent dropped out.
    """

    def __init__(self, words: int = 10_000, units: int = 650, dropout: float = 0.5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, units)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(units, units, 2, batch_first=True, dropout=dropout)
        self.head = nn.Linear(units, words)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, words)."""
        states, _ = self.lstm(self.dropout(self.embedding(ids)))
        return self.head(self.dropout(states))


class SmallTransformer(nn.Module):
    """torch's own encoder with the sizes of the base Transformer, on 10,000 words.

    References:
        Vaswani et al. 2017, "Attention Is All You Need": 6 layers of 512, 8 heads, 2,048 inside.
    """

    def __init__(self, words: int = 10_000, longest: int = 512) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 512)
        self.positions = nn.Parameter(torch.zeros(longest, 512))
        layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(512, words)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, words)."""
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        return self.head(self.encoder(x))
