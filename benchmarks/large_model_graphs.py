"""Graphs of the language models that public tables of large trainings name, captured once.

    python benchmarks/large_model_graphs.py MEASURED

They are plain GPTs, written here as their papers and configs have them: MPT of llm-foundry, which
these rows train with learned positions, biases and attention in one kernel; Megatron-LM's GPT of
before that kernel; nanoGPT's of 2022, whose attention and GELU were plain operations then. Each is
captured with its table's lengths up to 2,048 and scaled beyond. Graphs are kept in
calibration/.graphs, as calibration/graphs.py keeps its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent.parent / "calibration"))

from graphs import FOLDER, path_of
from large_model_rows import large_model_rows, numerics_of
from traintime.workload.capture import Subject, capture
from traintime.workload.captured_step import Loss
from traintime.workload.own_module import token_loss

Attention = Literal["fused", "softmax", "plain"]
LENGTHS = (512, 1024, 2048)
DROPOUT = 0.1
"""Megatron-LM's default, of attention and of what is added; the others drop nothing."""


@dataclass(frozen=True)
class Shape:
    """A GPT.

    Args:
        layers: Blocks.
        width: Of a token's vector.
        heads: Of attention.
        words: Rows of the table of words.
        bias: Whether linear layers and norms add one.
        attention: One "fused" kernel, which stores no scores; products and Megatron-LM's kernel,
            which scales and masks with its "softmax"; or operation by operation, "plain", as GELU
            then is, too.
    """

    layers: int
    width: int
    heads: int
    words: int
    bias: bool = True
    attention: Attention = "fused"


MPT = {
    "125m": Shape(12, 768, 12, 50368),
    "350m": Shape(24, 1024, 16, 50368),
    "760m": Shape(24, 1536, 12, 50368),
    "1b": Shape(24, 2048, 16, 50368),
    "3b": Shape(32, 2560, 20, 50368),
    "7b": Shape(32, 4096, 32, 50368),
    "13b": Shape(40, 5120, 40, 50368),
    "30b": Shape(48, 7168, 56, 50368),
    "70b": Shape(80, 8192, 64, 50368),
}
"""llm-foundry's scripts/train/yamls/pretrain; counts of parameters agree with the table's."""


def shape_of(model: str) -> Shape:
    """Return the shape of a model, named as in `large_model_rows`.

    Args:
        model: "mpt:SIZE", "megatron:hWIDTH-lLAYERS-aHEADS" or "nanogpt:124m".
    """
    kin, _, name = model.partition(":")
    if kin == "mpt":
        return MPT[name]
    if kin == "megatron":
        width, layers, heads = (int(part[1:]) for part in name.split("-"))
        return Shape(layers, width, heads, 51200, attention="softmax")
    return Shape(12, 768, 12, 50257, attention="plain")


class InPlaceLoss(torch.autograd.Function):
    """What flash-attn's cross-entropy moves, which llm-foundry trains with if nothing is said.

    One pass over the scores finds the losses, another leaves their gradient in their place.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        """Return a loss."""
        ctx.save_for_backward(scores)
        return scores.amax(-1).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient of the scores."""
        (scores,) = ctx.saved_tensors
        return scores.mul_(gradients[0])


def _plain_gelu(x: Tensor) -> Tensor:
    """Return what GPT-2 computes (Hendrycks and Gimpel 2016, by tanh)."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


class Block(nn.Module):
    """Attention and a feed-forward part, each after a norm and added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, bias = shape.width, shape.bias
        self.heads, self.attention = shape.heads, shape.attention
        self.first, self.second = (nn.LayerNorm(width, bias=bias) for _ in range(2))
        self.mixes = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        """Return the same shape."""
        x = x + self._dropped(self.out(self._attend(self.mixes(self.first(x)))))
        gelu = _plain_gelu if self.attention == "plain" else F.gelu
        return x + self._dropped(self.down(gelu(self.up(self.second(x)))))

    def _attend(self, mixed: Tensor) -> Tensor:  # (B, T, 3C)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in mixed.chunk(3, dim=2)
        )  # (B, heads, T, C / heads)
        if self.attention == "fused":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.attention == "softmax":
            y = self._dropped(F.softmax(q @ k.transpose(2, 3), dim=-1)) @ v
        else:
            scores = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
            ahead = torch.ones(scores.shape[2:], device=scores.device).tril() == 0
            y = F.softmax(scores.masked_fill(ahead, -math.inf), dim=-1) @ v
        return y.transpose(1, 2).flatten(2)

    def _dropped(self, x: Tensor) -> Tensor:
        drops = self.attention == "softmax"
        return F.dropout(x, DROPOUT, training=True) if drops else x


class Gpt(nn.Module):
    """Words and places in, scores of the next word out, by the table of words again."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.words, shape.width)
        self.places = nn.Embedding(max(LENGTHS), shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, bias=shape.bias)

    def forward(self, ids: Tensor) -> Tensor:  # (B, T)
        """Return scores, (B, T, words)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.words(ids) + self.places(places)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.words.weight)


def subject(model: str) -> Subject:
    """Return what is captured of a model."""
    with torch.device("meta"):
        module = Gpt(shape_of(model))

    def inputs(batch_size: int, length: int) -> tuple[tuple[Tensor], dict[str, Tensor]]:
        return (torch.zeros(batch_size, length, dtype=torch.long),), {}

    source = f"{Path(__file__).name}, torch {torch.__version__.partition('+')[0]}"
    longest = max(LENGTHS)
    loss = cast("Loss", InPlaceLoss.apply) if model.startswith("mpt:") else token_loss
    return Subject(model, source, module, inputs, (longest,), longest, "tokens", loss)


def main() -> None:
    """Capture what is not there yet, the smallest first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    rows = large_model_rows(parser.parse_args().measured)
    keys = {(row.model, numerics_of(row)) for row in rows if ":" in row.model}
    FOLDER.mkdir(exist_ok=True)
    for name, numerics in sorted(keys, key=lambda key: _size(key[0])):
        path, began = path_of((name, max(LENGTHS), numerics)), time.perf_counter()
        if not path.exists():
            graph = capture(subject(name), numerics, LENGTHS)
            path.write_bytes(gzip.compress(json.dumps(graph.to_json()).encode(), mtime=0))
            print(f"{name} {numerics} {time.perf_counter() - began:.0f} s", flush=True)


def _size(model: str) -> float:
    shape = shape_of(model)
    return math.prod((shape.layers, shape.width, shape.width))


if __name__ == "__main__":
    main()
