"""Graphs of well-known models, captured once and shipped; reading them needs no torch.

`scripts/make_graphs.py` makes them: one file a model, with its kernels in both numerics.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from traintime.workload.kernels import KernelGraph, Numerics

FOLDER = Path(__file__).parent / "graphs"
SUFFIX = ".json.gz"

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
    "wide_resnet50": "wide_resnet50_2",
}
"""Other names that people type, of torchvision, timm and Hugging Face."""


def shipped_names() -> tuple[str, ...]:
    """Return the names of all shipped graphs, without their aliases."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}")))


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
