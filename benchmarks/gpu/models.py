"""The models whose steps are timed: our own, and those of libraries that can be imported."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpu.convolutional_networks import (
    EFFICIENTNET_B0,
    MOBILENET_V2,
    UNet,
    convnext,
    inverted,
    resnet,
    vgg16,
)
from gpu.token_networks import LanguageModel, LstmModel, VisionTransformer


@dataclass(frozen=True)
class Model:
    """A model to train, by layers alike to those of the one it is named after.

    Args:
        build: Makes the module.
        shape: Of a sample: image, or length of a sequence.
        vocabulary: Of tokens; 0 for images.
        optimizer: Key of `UPDATES`.
        batches: The smaller is often limited by the host, the larger by the device.
        source: Where the module comes from.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 224, 224)
    vocabulary: int = 0
    optimizer: str = "sgd"
    batches: tuple[int, int] = (32, 128)
    source: str = "benchmarks/gpu/models.py"

    @property
    def is_of_images(self) -> bool:
        """Whether a memory format matters."""
        return len(self.shape) == 3

    def inputs(self, batch_size: int, device: str) -> Tensor:
        """Return a batch of noise."""
        shape = (batch_size, *self.shape)
        if self.vocabulary:
            return torch.randint(self.vocabulary, shape, device=device)
        return torch.randn(shape, device=device)


def loss_of(scores: Tensor) -> Tensor:
    """Return the cross-entropy of a sample's, a token's or a pixel's scores."""
    if scores.ndim == 3:  # of tokens: (B, T, V)
        scores = scores.flatten(0, 1)
    labels = torch.zeros(scores.shape[0], *scores.shape[2:], dtype=torch.long, device=scores.device)
    return F.cross_entropy(scores, labels)


def mlp() -> nn.Module:
    """Two wide layers on small images."""
    widths = (3072, 4096, 4096)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(4096, 1000))


def _language_model(vocabulary: int, length: int, *, causal: bool) -> Model:
    build = partial(LanguageModel, 12, 768, vocabulary, length, causal=causal)
    return Model(build, (length,), vocabulary, "adamw", (8, 32))


OWN_MODELS = {
    "mlp": Model(mlp, (3, 32, 32), batches=(128, 2048)),
    "mobilenet_v2": Model(partial(inverted, MOBILENET_V2, partial(nn.ReLU6, inplace=True), 0)),
    "resnet18": Model(partial(resnet, (2, 2, 2, 2), 1)),
    "resnet50": Model(partial(resnet, (3, 4, 6, 3), 4)),
    "vit_base": Model(partial(VisionTransformer, 12, 768), optimizer="adamw"),
    "gpt2_small": _language_model(50257, 512, causal=True),
    "lstm": Model(LstmModel, (35,), 33278, "sgd", (32, 256)),
    "unet": Model(UNet, (3, 256, 256), batches=(4, 16)),
    "efficientnet_b0": Model(partial(inverted, EFFICIENTNET_B0, partial(nn.SiLU, inplace=True), 4)),
    "convnext_tiny": Model(partial(convnext, (3, 3, 9, 3), (96, 192, 384, 768)), optimizer="adamw"),
    "resnext50": Model(partial(resnet, (3, 4, 6, 3), 4, 128, 32)),
    "vgg16": Model(vgg16, batches=(16, 64)),
    "vit_small": Model(partial(VisionTransformer, 12, 384), optimizer="adamw"),
    "bert_base": _language_model(30522, 128, causal=False),
}
FOREIGN_MODELS = {
    "torchvision": ("resnet50", "densenet121", "swin_t", "regnet_y_3_2gf"),
    "timm": ("vit_base_patch16_224", "efficientnetv2_rw_t", "mixer_b16_224", "convnext_tiny"),
}
TINY_MODELS = {
    "tiny resnet": Model(partial(resnet, (1, 1), 1), (3, 32, 32), batches=(2, 4)),
    "tiny lstm": Model(partial(LstmModel, 100, 32), (8,), 100, "adamw", (2, 4)),
}


def foreign_models() -> dict[str, Model]:
    """Return models of the libraries that can be imported."""
    models: dict[str, Model] = {}
    for library, names in FOREIGN_MODELS.items():
        try:
            module = importlib.import_module(library if library == "timm" else f"{library}.models")
        except (ImportError, RuntimeError):  # torchvision raises the latter beside another torch
            continue
        source = f"{library} {sys.modules[library].__version__}"
        for name in names:
            make = partial(module.create_model, name) if library == "timm" else vars(module)[name]
            models[f"{library}:{name}"] = Model(make, source=source)
    return models
