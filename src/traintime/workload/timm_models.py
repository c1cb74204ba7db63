"""Models of timm, by name and without their weights."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

from traintime.errors import InputError, MissingExtraError, UnknownNameError
from traintime.workload.capture import Subject
from traintime.workload.captured_step import Inputs
from traintime.workload.sample import Sample
from traintime.workload.torchvision_operators import declare_missing_operators

HOW_TO_LIST = "All of them: python -c 'import timm; print(timm.list_models())'"


def timm_subject(name: str, sample: Sample | None = None) -> Subject:
    """Return a model of timm with its default input, or another square one.

    Args:
        name: As timm lists it, such as "resnet50" or "vit_base_patch16_224".
        sample: What `input=` says.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownNameError: timm has no such model.
        InputError: The input is no square image, or the model cannot be built for it.
    """
    timm = _timm()
    if not timm.is_model(name.partition(".")[0]):
        raise UnknownNameError("timm model", name, timm.list_models(), HOW_TO_LIST)
    module = _create(timm, name)
    settings = cast("dict[str, Any]", getattr(module, "default_cfg", {}))
    channels, side, _ = cast("tuple[int, int, int]", settings.get("input_size", (3, 224, 224)))
    built_for_one = bool(settings.get("fixed_input_size"))
    if sample:
        channels, side, standard = *_square(name, sample), side
        module = _create(timm, name, side if built_for_one and side != standard else 0, channels)

    def inputs(batch_size: int, size: int) -> Inputs:
        return (torch.zeros(batch_size, channels, size, size),), {}

    version = torch.__version__.partition("+")[0]
    return Subject(
        name=f"timm:{name}",
        source=f"timm {timm.__version__}, torch {version}",
        module=module,
        inputs=inputs,
        input_shape=(channels, side, side),
        size=side,
        size_unit="pixels",
        at_size=(lambda side: _create(timm, name, side, channels)) if built_for_one else None,
    )


def _square(name: str, sample: Sample) -> tuple[int, int]:
    if len(sample.shape) != 3 or sample.shape[1] != sample.shape[2]:
        raise InputError(
            f"input={sample} is no square image for timm:{name}. Type for example input=3x224x224"
        )
    return sample.shape[0], sample.shape[1]


def _create(timm: ModuleType, name: str, side: int = 0, channels: int = 3) -> nn.Module:
    """Build on "meta", where nothing is drawn; a few models must look at values and are built."""
    options: dict[str, Any] = {"img_size": side} if side else {}
    if channels != 3:
        options["in_chans"] = channels
    try:
        with torch.device("meta"):
            return timm.create_model(name, **options)
    except Exception:
        try:
            return timm.create_model(name, **options)
        except Exception as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"timm cannot build {name} with {options or 'its defaults'}: {said}"
            ) from error


def _timm() -> ModuleType:
    try:
        declare_missing_operators()
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise MissingExtraError("model=timm:...", "timm", error.name or "timm") from None
