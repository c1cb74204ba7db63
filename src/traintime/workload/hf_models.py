"""Models of transformers from their configs: no weights, for well-known ones no network."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import logging
import tomllib
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from traintime.errors import InputError, MissingExtraError
from traintime.workload.capture import Subject
from traintime.workload.captured_step import Inputs
from traintime.workload.sample import Sample
from traintime.workload.torchvision_operators import declare_missing_operators

TABLE = Path(__file__).parent / "hf_configs.toml"
HEADS = (
    "AutoModelForSeq2SeqLM",
    "AutoModelForMaskedLM",
    "AutoModelForCausalLM",
    "AutoModelForImageClassification",
    "AutoModel",
)
"""What a config without `architectures` is taken for: the first of these that knows it."""
LONGEST = 4096
"""Tokens that a model is captured with if it could take more and nobody said how many."""


def hf_subject(name: str, sample: Sample | None = None) -> Subject:
    """Return a model of transformers with its own loss.

    Args:
        name: Of a published model, or the path of a config.json or of its folder.
        sample: What `input=` says.

    Raises:
        MissingExtraError: transformers is not installed.
        InputError: No config is found, or the model does not take such an input.
    """
    transformers = _transformers()
    with _quiet(transformers):
        config, tokens = _config(transformers, name)
        config.use_cache = False  # of keys and values: for generating
        module = _build(transformers, name, config)
    takes = inspect.signature(module.forward).parameters
    if getattr(module, "main_input_name", "input_ids") == "pixel_values":
        return _of_images(transformers, name, module, sample)
    if "input_ids" not in takes:
        raise InputError(
            f"hf:{name} takes {getattr(module, 'main_input_name', 'other input')}, and text and "
            "square images alone are known here. Write a function that returns (module, "
            "example_batch) and type model=path/to/file.py:build"
        )
    length = sample.shape[0] if sample else tokens or _length(config)
    _check_tokens(name, config, sample)
    one_label = type(module).__name__.endswith(("SequenceClassification", "MultipleChoice"))

    def inputs(batch_size: int, size: int) -> Inputs:
        values = {"input_ids": _ids(batch_size, size)}
        if "labels" in takes:
            values["labels"] = _ids(batch_size) if one_label else _ids(batch_size, size)
        return (), values

    return Subject(
        name=f"hf:{name}",
        source=_source(transformers, module),
        module=module,
        inputs=inputs,
        input_shape=(length,),
        size=length,
        size_unit="tokens",
    )


def _of_images(
    transformers: ModuleType, name: str, module: nn.Module, sample: Sample | None
) -> Subject:
    config = cast("Any", module.config)
    side = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    shape = (getattr(config, "num_channels", 3), side, side)
    if sample and sample.shape != shape:
        raise InputError(f"hf:{name} takes images of {Sample(shape)} and not of {sample}")
    takes_labels = type(module).__name__.endswith("ImageClassification")

    def inputs(batch_size: int, _size: int) -> Inputs:
        values = {"pixel_values": torch.zeros(batch_size, *shape)}
        return (), values | ({"labels": _ids(batch_size)} if takes_labels else {})

    return Subject(f"hf:{name}", _source(transformers, module), module, inputs, shape)


def _ids(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.long)


def _source(transformers: ModuleType, module: nn.Module) -> str:
    versions = (
        f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}"
    )
    return f"{type(module).__name__} of {versions}"


def _length(config: Any) -> int:
    """Return the most tokens it takes, in whole 64s: RoBERTa keeps two places of its 514."""
    most = _most_tokens(config) or 512
    return min(most - most % 64 or most, LONGEST)


def _most_tokens(config: Any) -> int | None:
    for field in ("max_position_embeddings", "n_positions"):
        if isinstance(getattr(config, field, None), int):
            return getattr(config, field)
    return None


def _check_tokens(name: str, config: Any, sample: Sample | None) -> None:
    if sample and len(sample.shape) != 1:
        raise InputError(
            f"hf:{name} takes text and not {sample}. Type for example input='512 tokens'"
        )
    rotates = any(field.startswith("rope") for field in vars(config))
    most = (
        None
        if rotates or hasattr(config, "relative_attention_num_buckets")
        else _most_tokens(config)
    )
    if sample and most and sample.shape[0] > most:
        raise InputError(f"hf:{name} takes at most {most} tokens and not {sample.shape[0]}")


def known_configs() -> dict[str, dict[str, Any]]:
    """Return the table of well-known models by name."""
    return tomllib.loads(TABLE.read_text())


def _config(transformers: ModuleType, name: str) -> tuple[Any, int]:
    """Return a config, and the standard length if the table has one."""
    path = Path(name).expanduser()
    if path.is_dir():
        path /= "config.json"
    if path.is_file():
        return _from_file(transformers, path), 0
    plain = name.casefold().removesuffix("-hf")
    for key, entry in known_configs().items():
        if plain in (key, f"{entry['owner']}/{key}".casefold()):
            return _known(transformers, entry), entry["tokens"]
    # Its retries are many lines about what the message below says in one.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return transformers.AutoConfig.from_pretrained(name), 0
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"No config for hf:{name}: it is no folder or config.json here, and Hugging Face did "
            f"not give it ({said}). Type the path of a config.json, or one that is known without a "
            f"network: {', '.join(known_configs())}"
        ) from error


def _known(transformers: ModuleType, entry: Mapping[str, Any]) -> Any:
    architecture = entry["architecture"]
    config = getattr(transformers, architecture).config_class(**entry["config"])
    config.architectures = [architecture]
    return config


def _from_file(transformers: ModuleType, path: Path) -> Any:
    try:
        values = cast("Mapping[str, Any]", json.loads(path.read_text()))
        return transformers.AutoConfig.for_model(**values)
    except (ValueError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"'{path}' is no config that transformers knows: {said}") from error


def _build(transformers: ModuleType, name: str, config: Any) -> nn.Module:
    """Build on "meta", where weights take no memory."""
    try:
        with torch.device("meta"):
            module = _class(transformers, config)(config).float().train()  # precision= says it
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"transformers cannot build hf:{name} without weights: {said}") from error
    if type(module).__name__.endswith("LMHeadModel"):
        module.loss_type = "ForCausalLM"  # what it takes anyway, with a warning
    return module


def _class(transformers: ModuleType, config: Any) -> Any:
    for architecture in getattr(config, "architectures", None) or ():
        if hasattr(transformers, architecture):
            return getattr(transformers, architecture)
    for head in HEADS:
        auto = getattr(transformers, head)
        if type(config) in auto._model_mapping:  # noqa: SLF001
            return auto.from_config
    raise InputError(f"transformers has no model for a {type(config).__name__}")


@contextlib.contextmanager
def _quiet(transformers: ModuleType) -> Generator[None]:
    """Transformers remarks on every config that was not made by training."""
    logging = transformers.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@cache
def _transformers() -> ModuleType:
    try:
        declare_missing_operators()
        return importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise MissingExtraError("model=hf:...", "hf", error.name or "transformers") from None
