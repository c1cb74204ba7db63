"""Graphs of well-known models, captured once and shipped; reading them needs no torch.

`scripts/make_graphs.py` makes them: one file a model, with its kernels in both numerics.
"""

from __future__ import annotations

import gzip
import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from traintime.errors import InputError
from traintime.workload.kernels import KernelGraph, Numerics
from traintime.workload.sample import Sample

FOLDER = Path(__file__).parent / "graphs"
SUFFIX = ".json.gz"
FACTS = Path(__file__).parent / "shipped_models.toml"

ALIASES = {
    "bert": "bert-base",
    "bert-base-uncased": "bert-base",
    "bert-large-uncased": "bert-large",
    "convnext_b": "convnext_base",
    "convnext_t": "convnext_tiny",
    "deit_small_patch16_224": "deit_small",
    "distilbert-base-uncased": "distilbert",
    "efficientnet_v2_s": "efficientnetv2_s",
    "gpt2-small": "gpt2",
    "llama-2-7b-hf": "llama-2-7b",
    "llama-2-13b-hf": "llama-2-13b",
    "llama-2-70b-hf": "llama-2-70b",
    "llama-3.1-8b": "llama-3-8b",
    "llama-3.1-70b": "llama-3-70b",
    "meta-llama-3-8b": "llama-3-8b",
    "meta-llama-3-70b": "llama-3-70b",
    "mistral-7b-v0.3": "mistral-7b",
    "mixer_b16_224": "mixer_b16",
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "resnext50": "resnext50_32x4d",
    "resnext101": "resnext101_32x8d",
    "roberta": "roberta-base",
    "swin_b": "swin_base",
    "swin_base_patch4_window7_224": "swin_base",
    "swin_t": "swin_tiny",
    "swin_tiny_patch4_window7_224": "swin_tiny",
    "vit_b_16": "vit_base_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_large": "vit_large_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "vit_tiny": "vit_tiny_patch16_224",
    "tinyllama": "tinyllama-1.1b",
    "wide_resnet50": "wide_resnet50_2",
}
"""Other names that people type, of torchvision, timm and Hugging Face."""


def shipped_names() -> tuple[str, ...]:
    """Return the names of all shipped graphs, without their aliases."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}")))


def families() -> Mapping[str, Sequence[str]]:
    """Return the names of all shipped graphs by their kin."""
    return _facts()["families"]


def least_side(name: str) -> int:
    """Return the smallest side of an image that a shipped model takes."""
    return _facts()["least_side"].get(name, 1)


def most_tokens(name: str) -> int | None:
    """Return the longest text that a shipped model takes; None if there is no end."""
    return _facts()["most_tokens"].get(name)


@cache
def _facts() -> Mapping[str, Any]:
    return tomllib.loads(FACTS.read_text(encoding="utf-8"))


def check_shipped_sample(graph: KernelGraph, sample: Sample) -> None:
    """Refuse a sample that a shipped model itself would refuse.

    Raises:
        InputError: Names the nearest that it takes.
    """
    longest, side = most_tokens(graph.model), least_side(graph.model)
    if sample.tokens and longest and sample.shape[0] > longest:
        raise InputError(
            f"{graph.model} takes at most {longest:,} tokens and not {sample.shape[0]:,}: its "
            f"positions end there. Type input='{longest} tokens', or give one that takes more as "
            "code: model=path/to/file.py:build"
        )
    if len(sample.shape) == 3 and min(sample.shape[1:]) < side:
        nearest = Sample((sample.shape[0], *(max(side, one) for one in sample.shape[1:])))
        raise InputError(
            f"{graph.model} takes no images of {sample}: nothing is left of them before its last "
            f"layer. Type input={nearest} or larger"
        )


def shipped_graph(name: str, numerics: Numerics) -> KernelGraph | None:
    """Return the shipped graph of a model, or None if there is none.

    Args:
        name: Or an alias; upper and lower case are alike.
        numerics: "fp32" or "amp".
    """
    plain = name.casefold()
    path = FOLDER / f"{ALIASES.get(plain, plain)}{SUFFIX}"
    if path.parent != FOLDER or not path.is_file():
        return None
    return KernelGraph.from_json(json.loads(gzip.decompress(path.read_bytes()))[numerics])


def pack(graphs: dict[Numerics, KernelGraph]) -> bytes:
    """Return a file's content; the same graphs give the same bytes."""
    values = {numerics: graph.to_json() for numerics, graph in graphs.items()}
    text = json.dumps(values, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return gzip.compress(text.encode(), 9, mtime=0)
