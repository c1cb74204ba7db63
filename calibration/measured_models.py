"""The models of the public tables, built without weights' values."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from traintime.workload.capture import Subject
from traintime.workload.torchvision_operators import declare_missing_operators

declare_missing_operators()

OLD_NAMES = {
    "vit_base_patch32_224_sam": "vit_base_patch32_224.sam_in1k",
    "vit_base_patch16_224_sam": "vit_base_patch16_224.sam_in1k",
}


def subject(model: str, size: int) -> Subject:
    """Return what to capture.

    Args:
        model: "timm:NAME", "tv:NAME", "hf:bert-base", "neusight:NAME" or "own:ssd300".
        size: Side of images or length of sequences.
    """
    library, _, name = model.partition(":")
    with torch.device("meta"):
        return BUILDERS[library](name, size)


def _images(model: str, source: str, module: nn.Module, size: int, loss: Any = None) -> Subject:
    def inputs(batch: int, side: int) -> Any:
        return (torch.empty(batch, 3, side, side, device="meta"),), {}

    extra = {"loss": loss} if loss else {}
    return Subject(model, source, module.train(), inputs, (3, size, size), size, "pixels", **extra)


def _timm(name: str, size: int) -> Subject:
    import timm

    name = OLD_NAMES.get(name, name)
    try:
        module = timm.create_model(name)
        if module.default_cfg["input_size"][1] != size:  # type: ignore[index]
            module = _at_size(name, size)
    except NotImplementedError:  # something is computed while it is built
        with torch.device("cpu"):
            module = timm.create_model(name)
    return _images(name, f"timm {version('timm')}", module, size)


def _at_size(name: str, size: int) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, img_size=size)
    except TypeError:
        return timm.create_model(name)


def _torchvision(name: str, size: int) -> Subject:
    from torchvision import models

    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = models.get_model(name, **extra)
    if name == "googlenet":
        module.aux_logits = False
        module.aux1 = module.aux2 = None  # type: ignore[assignment]
    return _images(
        name, f"torchvision {version('torchvision')}", module, size, loss=_first_output_loss
    )


def _first_output_loss(output: Any) -> Tensor:
    scores = getattr(output, "logits", output)
    labels = torch.zeros(scores.shape[0], dtype=torch.long, device=scores.device)
    loss = nn.functional.cross_entropy(scores, labels)
    extra = getattr(output, "aux_logits", None)
    return loss if extra is None else loss + nn.functional.cross_entropy(extra, labels)


def _tokens(name: str, module: nn.Module, size: int, more: Callable[[int, int], Any]) -> Subject:
    def inputs(batch: int, length: int) -> Any:
        ids = torch.empty(batch, length, dtype=torch.long, device="meta")
        return (), {"input_ids": ids, **more(batch, length)}

    source = f"transformers {version('transformers')}"
    return Subject(name, source, module.train(), inputs, (size,), size, "tokens")


def _transformers(name: str, size: int) -> Subject:
    from transformers import BertConfig, BertForQuestionAnswering

    widths = {"bert-base": (768, 12, 12), "bert-large": (1024, 24, 16)}
    width, layers, heads = widths[name]
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        attn_implementation="eager",
    )

    def answers(batch: int, _length: int) -> Any:
        position = torch.empty(batch, dtype=torch.long, device="meta")
        return {"start_positions": position, "end_positions": position}

    return _tokens(name, BertForQuestionAnswering(config), size, answers)


# (class, layers, width, heads): the configurations of NeuSight's scripts
NEUSIGHT = {
    "bert_large": ("bert", 24, 1024, 16),
    "gpt2_large": ("gpt2", 36, 1280, 20),
    "gpt3_xl": ("gpt2", 24, 3072, 24),
    "gpt3_27": ("gpt2", 32, 2560, 32),
    "opt_13": ("opt", 24, 2048, 32),
}
DROPOUTS = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("attn_pdrop", "resid_pdrop", "embd_pdrop"),
    "opt": ("dropout", "attention_dropout"),
}


def _neusight(name: str, size: int) -> Subject:
    return _neusight_subject(name, size, trained=True)


def _neusight_eval(name: str, size: int) -> Subject:
    return _neusight_subject(name, size, trained=False)


def _neusight_subject(name: str, size: int, *, trained: bool) -> Subject:
    """Return what NeuSight timed: in training with dropout and BERT's two heads, else without."""
    import transformers

    kind, layers, width, heads = NEUSIGHT[name]
    more = {} if trained else dict.fromkeys(DROPOUTS[kind], 0.0)
    shape = NAMES_OF_SHAPE[kind]
    more |= dict(zip(shape, (layers, width, heads), strict=True))
    more |= {"attn_implementation": "eager", "use_cache": False}
    if kind == "bert":
        config = transformers.BertConfig(intermediate_size=4 * width, **more)
        whole = "BertForPreTraining" if trained else "BertForSequenceClassification"
        return _tokens(name, getattr(transformers, whole)(config), size, _attention_mask)
    if kind == "gpt2":
        config = transformers.GPT2Config(n_positions=max(1024, size), **more)
        return _tokens(name, transformers.GPT2LMHeadModel(config), size, lambda _b, _t: {})
    config = transformers.OPTConfig(ffn_dim=4 * width, word_embed_proj_dim=width, **more)
    return _tokens(name, transformers.OPTForCausalLM(config), size, lambda _b, _t: {})


NAMES_OF_SHAPE = {
    "bert": ("num_hidden_layers", "hidden_size", "num_attention_heads"),
    "gpt2": ("n_layer", "n_embd", "n_head"),
    "opt": ("num_hidden_layers", "hidden_size", "num_attention_heads"),
}


def _attention_mask(batch: int, length: int) -> Any:
    """Return the mask that BERT made for itself in the measured version, and adds to its scores."""
    return {"attention_mask": torch.empty(batch, length, dtype=torch.long, device="meta")}


def _own(name: str, size: int) -> Subject:
    if name != "ssd300":
        raise KeyError(name)
    return _images(
        name, "SSD300 with a ResNet-50, after NVIDIA's DeepLearningExamples", Ssd300(), size
    )


class Ssd300(nn.Module):
    """SSD (Liu et al. 2016) on ResNet-50's first three stages with the third's stride removed."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        whole = resnet50()
        third = whole.layer3[0]
        third.conv1.stride = third.conv2.stride = third.downsample[0].stride = (1, 1)
        self.backbone = nn.Sequential(
            whole.conv1,
            whole.bn1,
            whole.relu,
            whole.maxpool,
            whole.layer1,
            whole.layer2,
            whole.layer3,
        )
        widths = [1024, 512, 512, 256, 256, 256]
        inner = [256, 256, 128, 128, 128]
        self.extra = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, m, 1, bias=False),
                nn.BatchNorm2d(m),
                nn.ReLU(inplace=True),
                nn.Conv2d(m, b, 3, padding=1 if i < 3 else 0, stride=2 if i < 3 else 1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
            )
            for i, (a, m, b) in enumerate(zip(widths, inner, widths[1:], strict=False))
        )
        boxes = [4, 6, 6, 6, 4, 4]
        self.heads = nn.ModuleList(
            nn.Conv2d(w, n * (4 + 81), 3, padding=1) for w, n in zip(widths, boxes, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return all boxes' places and scores, (N, boxes · 85)."""
        features = [self.backbone(x)]
        for stage in self.extra:
            features.append(stage(features[-1]))
        return torch.cat([h(f).flatten(1) for h, f in zip(self.heads, features, strict=True)], 1)


BUILDERS: dict[str, Callable[[str, int], Subject]] = {
    "timm": _timm,
    "tv": _torchvision,
    "hf": _transformers,
    "neusight": _neusight,
    "neusight-eval": _neusight_eval,
    "own": _own,
}
