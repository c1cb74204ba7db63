"""From what a user types as `model=` to the kernels of its training step.

| typed | found |
|---|---|
| `resnet50` | a shipped graph; no torch |
| `timm:NAME` | a model of timm |
| `hf:NAME`, `hf:path/to/config.json` | a model of transformers, from its config |
| `path/to/file.py:build`, `package.module:build` | the user's own torch module |
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from traintime.errors import MissingExtraError, UnknownNameError
from traintime.workload.kernels import KernelGraph, Numerics, Target
from traintime.workload.sample import Sample, read_sample
from traintime.workload.shipped import ALIASES, shipped_graph, shipped_names

if TYPE_CHECKING:
    from traintime.workload.capture import Subject
    from traintime.workload.captured_step import Loss


def find_graph(
    model: str, numerics: Numerics, sample_text: str = "", *, target: Target = "cuda"
) -> KernelGraph:
    """Return the kernels of a model's training step.

    A shipped graph holds for several input sizes, and `relative_size` says which u a sample is; a
    model that is captured holds for the size that was asked for alone.

    Args:
        model: As typed.
        numerics: "fp32" or "amp".
        sample_text: What `input=` says; empty for the model's own.
        target: What to capture for; a shipped graph is one for "cuda".

    Raises:
        MissingExtraError: A package is needed and not installed.
        InputError: There is no such model, or it cannot be captured.
    """
    graph = shipped_graph(model, numerics)
    if graph:
        return graph
    subject = find_subject(model, sample_text)
    return _capture().graph_of(subject, numerics, target=target)


def find_subject(model: str, sample_text: str = "", otherwise: Sample | None = None) -> Subject:
    """Return a model that is not shipped, ready to be captured.

    Args:
        model: As typed.
        sample_text: What `input=` says; empty for the model's own.
        otherwise: Input of a user's own model that has none.

    Raises:
        MissingExtraError: A package is needed and not installed.
        InputError: There is no such model.
    """
    sample = read_sample(sample_text) if sample_text else None
    source, colon, name = model.partition(":")
    if not colon and not model.endswith(".py"):
        raise UnknownNameError("model", model, (*shipped_names(), *ALIASES), HOW_TO_NAME)
    _capture()
    return _found(source, name, model, sample, otherwise)


HOW_TO_NAME = (
    "`traintime models` lists them. Others: model=timm:NAME, model=hf:NAME (Hugging Face), or your "
    "own code, model=path/to/file.py:build"
)


def _found(
    source: str, name: str, model: str, sample: Sample | None, otherwise: Sample | None
) -> Subject:
    if source == "timm":
        from traintime.workload.timm_models import timm_subject

        return timm_subject(name, sample)
    if source == "hf":
        from traintime.workload.hf_models import hf_subject

        return hf_subject(name, sample)
    from traintime.workload.own_module import own_subject

    return own_subject(model, sample, otherwise)


def from_module(module: Any, example_batch: Any, loss: Loss | None = None) -> Subject:
    """Return a torch module as something to capture.

    Args:
        module: What is trained; it is not changed.
        example_batch: A tensor, a tuple of them or a dict of named ones; the first dimension is the
            batch. Of a pair that the module does not take, the second holds the labels.
        loss: Makes a scalar of the output; none for the model's own, or cross-entropy.
    """
    _capture()
    from traintime.workload import own_module

    return own_module.from_module(module, example_batch, loss)


def _capture() -> ModuleType:
    try:
        return importlib.import_module("traintime.workload.capture")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError(
            "Forecasting a model that is not shipped", "train", "torch"
        ) from None
