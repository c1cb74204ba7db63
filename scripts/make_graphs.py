"""Make `src/traintime/workload/graphs/`: the kernels of well-known models' training steps.

torchvision, timm and transformers are needed only here: `pip install 'traintime[timm,hf]'`, then
`python scripts/make_graphs.py`, or with some names after it. The same versions give the same bytes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from small_networks import LstmLanguageModel, SmallTransformer, UNet
from traintime.errors import InputError
from traintime.units import format_count
from traintime.workload.capture import Subject, capture, three_sizes
from traintime.workload.captured_step import Inputs, Loss, default_loss
from traintime.workload.hf_models import hf_subject
from traintime.workload.kernels import KernelGraph, Numerics
from traintime.workload.own_module import token_loss
from traintime.workload.shipped import FOLDER, SUFFIX, pack
from traintime.workload.timm_models import timm_subject
from traintime.workload.torchvision_operators import declare_missing_operators

BOTH: tuple[Numerics, Numerics] = ("fp32", "amp")
TORCH = f"torch {torch.__version__.partition('+')[0]}"

# Side of the images that each was published with, where it is not 224.
TORCHVISION = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), 224),
    **dict.fromkeys(("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2"), 224),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg16_bn", "vgg19", "alexnet"), 224),
    **dict.fromkeys(("densenet121", "densenet161", "densenet169", "densenet201"), 224),
    **dict.fromkeys(("squeezenet1_0", "squeezenet1_1", "googlenet"), 224),
    **dict.fromkeys(("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"), 224),
    **dict.fromkeys(("shufflenet_v2_x1_0", "mnasnet1_0", "regnet_y_8gf"), 224),
    **dict.fromkeys(("convnext_tiny", "convnext_base"), 224),
    "inception_v3": 299,
    "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnetv2_s": 300,
}
IN_TORCHVISION = {"efficientnetv2_s": "efficientnet_v2_s"}
OPTIONS: Mapping[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},  # drawing them takes a minute; "meta" has none
    "inception_v3": {"init_weights": False},
}

TIMM = {
    "inception_v4": "inception_v4",
    "vit_tiny_patch16_224": "vit_tiny_patch16_224",
    "vit_small_patch16_224": "vit_small_patch16_224",
    "vit_base_patch16_224": "vit_base_patch16_224",
    "vit_large_patch16_224": "vit_large_patch16_224",
    "deit_small": "deit_small_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "swin_base": "swin_base_patch4_window7_224",
    "mixer_b16": "mixer_b16_224",
}
HUGGING_FACE = {
    "bert-base": "bert-base-uncased",
    "bert-large": "bert-large-uncased",
    "distilbert": "distilbert-base-uncased",
    **{name: name for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")},
    **{name: name for name in ("roberta-base", "t5-small", "t5-base", "opt-1.3b", "opt-6.7b")},
    **{name: name for name in ("pythia-1b", "pythia-2.8b", "pythia-6.9b", "tinyllama-1.1b")},
    **{name: name for name in ("llama-2-7b", "llama-2-13b", "llama-2-70b")},
    "llama-3-8b": "meta-llama-3-8b",
    "llama-3-70b": "meta-llama-3-70b",
    "mistral-7b": "mistral-7b-v0.3",
}
SIZES: Mapping[str, tuple[int, ...]] = {
    "inception_v3": (299, 331, 363),  # its second head needs 299
    "mixer_b16": (),  # its weights grow with the image
    "lstm-lm": (18, 35, 70),
}


def main() -> None:
    """Write the graphs of all models, or of those named on the command line."""
    makers = subjects()
    unknown = set(sys.argv[1:]) - set(makers)
    if unknown:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(makers)}")
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or makers:
        began = perf_counter()
        graphs = both_graphs(name, makers[name]())
        content = pack(graphs)
        (FOLDER / f"{name}{SUFFIX}").write_bytes(content)
        print(line(graphs["fp32"], len(content), perf_counter() - began), flush=True)


def line(graph: KernelGraph, num_bytes: int, seconds: float) -> str:
    """Return what is printed of a model."""
    size = graph.size_unit or "one size"
    return (
        f"{graph.model:24} {format_count(graph.parameters):>8} parameters "
        f"{graph.flops(1) / 1e9:9.3f} GFLOP a sample {len(graph.kernels):4} kernels "
        f"{size:8} {num_bytes / 1e3:5.1f} kB {seconds:5.1f} s"
    )


def both_graphs(name: str, subject: Subject) -> dict[Numerics, KernelGraph]:
    """Capture a model at three sizes, or at its own where another has other operations."""
    subject = replace(subject, name=name)
    sizes = SIZES.get(name, three_sizes(subject))
    try:
        return {numerics: capture(subject, numerics, sizes) for numerics in BOTH}
    except InputError as error:
        print(f"{name}: {error}")
        return {numerics: capture(subject, numerics) for numerics in BOTH}


def subjects() -> dict[str, Callable[[], Subject]]:
    """Return what makes each model."""
    return {
        **{name: partial(torchvision_subject, name, side) for name, side in TORCHVISION.items()},
        **{name: partial(timm_subject, there) for name, there in TIMM.items()},
        "unet": partial(image_subject, UNet, "U-Net of scripts/small_networks.py", 256, pixel_loss),
        **{name: partial(hf_subject, there) for name, there in HUGGING_FACE.items()},
        "lstm-lm": partial(token_subject, LstmLanguageModel, 35),
        "transformer-small": partial(token_subject, SmallTransformer, 512),
    }


def torchvision_subject(name: str, side: int) -> Subject:
    """Return a model of torchvision with freshly drawn weights."""
    declare_missing_operators()
    torchvision = importlib.import_module("torchvision")
    make = getattr(torchvision.models, IN_TORCHVISION.get(name, name))
    version = torchvision.__version__.partition("+")[0]
    loss = heads_loss if name in ("googlenet", "inception_v3") else default_loss
    options = OPTIONS.get(name, {})
    return image_subject(partial(make, **options), f"torchvision {version}", side, loss)


def image_subject(make: Callable[[], nn.Module], source: str, side: int, loss: Loss) -> Subject:
    """Return a model of square colour images of any size."""
    try:
        with torch.device("meta"):
            module = make()
    except NotImplementedError:  # it looks at values that it computes its widths from
        module = make()

    def inputs(batch_size: int, size: int) -> Inputs:
        return (torch.zeros(batch_size, 3, size, size),), {}

    return Subject("", f"{source}, {TORCH}", module, inputs, (3, side, side), side, "pixels", loss)


def token_subject(make: Callable[[], nn.Module], length: int) -> Subject:
    """Return a language model of ours, judged at each place."""
    with torch.device("meta"):
        module = make()

    def inputs(batch_size: int, size: int) -> Inputs:
        return (torch.zeros(batch_size, size, dtype=torch.long),), {}

    source = f"{make.__name__} of scripts/small_networks.py, {TORCH}"
    return Subject("", source, module, inputs, (length,), length, "tokens", token_loss)


def heads_loss(outputs: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of the last head and, with less weight, of those in between."""
    first, *others = (default_loss(scores) for scores in outputs)
    return first + 0.3 * sum(others, torch.zeros(()))


def pixel_loss(scores: Tensor) -> Tensor:  # (B, classes, H, W)
    """Cross-entropy at each pixel."""
    labels = torch.zeros(scores.shape[0], *scores.shape[2:], dtype=torch.long)
    return F.cross_entropy(scores, labels)


if __name__ == "__main__":
    main()
