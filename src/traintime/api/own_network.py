"""A network of our own trainer, asked about on devices that need not be here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from traintime.api.job import KnownJob, read_job
from traintime.errors import InputError, MissingExtraError
from traintime.forecast.asked_job import DeviceJob
from traintime.recipe import Recipe
from traintime.recipe.question import ONLY_ASKED, ONLY_TRAINED, Question, check_keys, make_question
from traintime.workload.kernels import KernelGraph, Numerics, Target
from traintime.workload.sample import Sample

Graphs = Callable[[Numerics, Target], KernelGraph]
SETTLED_BY_DEVICE = ("device", "precision", "memory_format", "convolution")
"""Fields of a recipe that another device decides anew."""


def look_up_own(fields: Mapping[str, Any]) -> tuple[DeviceJob, Graphs, str]:
    """Return job, graphs and devices of a question about our own network.

    Its preset fills what is not given, so that it is the job that `traintime train` would do.

    Args:
        fields: As they were typed, of a recipe or a question.

    Raises:
        InputError: Something in it is unknown or impossible.
    """
    if fields.get("input") is not None:
        raise InputError(
            f"{fields['model']} takes images as data={fields['data']} has them; leave input= out"
        )
    if fields.get("tokens") is not None:
        raise InputError(
            f"tokens= is for models that read text, and {fields['model']} takes images as "
            f"data={fields['data']} has them; leave tokens= out and type epochs="
        )
    if fields.get("budget") is not None:
        raise InputError(
            "budget= fits the schedule to this machine's time while it trains, and another device "
            "was asked about. Leave budget= out and type epochs=, or leave device= out"
        )
    asked = {name: value for name, value in fields.items() if name not in ONLY_TRAINED}
    check_keys(asked)
    both = [name for name in Recipe.model_fields if name not in SETTLED_BY_DEVICE]
    of_recipe = {name: fields[name] for name in both if name in fields}
    if fields.get("samples") is not None:
        of_recipe["train_samples"] = fields["samples"]
    known = read_job(None, of_recipe)
    presets = {name: getattr(known.recipe, name) for name in both if name in Question.model_fields}
    question = make_question({**asked, **presets})
    if question.pilot:
        beyond = sorted(fields.keys() & ONLY_ASKED) or ["device"]
        raise InputError(
            f"pilot= takes steps of the job that `traintime train` would do on this machine, and "
            f"{beyond[0]}={fields[beyond[0]]} asks for another. Leave one of them out"
        )
    held_out = question.validation_samples
    job = DeviceJob(
        model=question.model,
        sample=Sample(known.network.input_shape),
        train_samples=known.sizes.train,
        validation_samples=known.sizes.validation if held_out is None else held_out,
        epochs=question.epochs,
        batch_size=question.batch_size,
        accumulate=question.accumulate,
        optimizer=known.recipe.optimizer,
        precision=question.precision,
        memory_format=question.memory_format,
        compiled=question.compile,
        sharding=question.sharding,
        recompute=question.recompute,
        notes=tuple(_own_lines(known)),
    )
    return job, cache(lambda numerics, target: _own_graph(known, numerics, target)), question.device


def _own_lines(known: KnownJob) -> Iterator[str]:
    sizes, samples = known.sizes, "rows" if known.facts.table else "images"
    yield (
        f"{known.facts.title}, divided as `traintime train` does: {sizes.train:,} {samples} to "
        f"train on and {sizes.validation:,} to validate on"
    )
    if known.recipe.target:
        yield (
            f"When {known.recipe.target} is reached is not forecast for other devices: the times "
            "are of all epochs"
        )


def _own_graph(known: KnownJob, numerics: Numerics, target: Target) -> KernelGraph:
    """Capture one of our networks, built without weights.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(f"Counting what {known.recipe.model} computes", "train", "torch")
    import torch

    from traintime.models.build import build
    from traintime.workload.capture import Subject, graph_of

    shape = known.network.input_shape
    with torch.device("meta"):
        module = build(known.network)
    subject = Subject(
        name=known.recipe.model,
        source=f"traintime's own description, torch {torch.__version__.partition('+')[0]}",
        module=module,
        inputs=lambda batch_size, _: ((torch.zeros(batch_size, *shape),), {}),
        input_shape=shape,
    )
    return graph_of(subject, numerics, target=target)
