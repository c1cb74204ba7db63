"""Networks of tokens to train, by layers alike to those that they are named after."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpu.convolutional_networks import Sum


class Attention(nn.Module):
    """Attention of several heads: Vaswani et al. 2017."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each place takes from the others."""
        batch, length, width = x.shape
        parts = self.into(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, C / heads)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def _transformer(depth: int, width: int, *, causal: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        attention = Attention(width, width // 64, causal=causal)
        mlp = (nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        layers += [
            Sum(nn.Sequential(nn.LayerNorm(width), attention)),
            Sum(nn.Sequential(nn.LayerNorm(width), *mlp)),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(width))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2020, patches of 16×16."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, 197, width))
        self.body, self.scores = _transformer(depth, width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (B, 1000)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.first.expand(len(x), -1, -1), x), 1) + self.places
        return self.scores(self.body(x)[:, 0])


class LanguageModel(nn.Module):
    """Scores of each token: GPT-2 (Radford et al. 2019) if causal, else BERT with a shared head."""

    def __init__(
        self, depth: int, width: int, vocabulary: int, length: int, *, causal: bool
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        self.body = _transformer(depth, width, causal=causal)
        self.scores = nn.Linear(width, vocabulary, bias=False)
        self.scores.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores (B, T, V)."""
        return self.scores(self.body(self.tokens(tokens) + self.places))


class LstmModel(nn.Module):
    """The medium model of Zaremba et al. 2014 on the vocabulary of WikiText-2."""

    def __init__(self, vocabulary: int = 33278, width: int = 650) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, 2, batch_first=True)
        self.scores = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores (B, T, V)."""
        return self.scores(self.lstm(self.tokens(tokens))[0])
