"""Lets timm and transformers be imported beside a torch that torchvision does not fit."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import torch

_declared: list[torch.library.Library] = []
"""Torch forgets what was declared when its library is collected."""


def declare_missing_operators() -> None:
    """Declare what torchvision's Python part describes, where its compiled part could not.

    With the CPU's torch beside it that part is often missing, and importing torchvision fails. No
    model here uses its operators.
    """
    if find_spec("torchvision") is None or _declared:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
