"""From a question to what a forecast for devices needs: the job, its graphs, and the devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from traintime.api.listener import Listener
from traintime.api.own_names import OwnDataSets, is_own_network
from traintime.architecture import NETWORKS
from traintime.data.known_sizes import KnownSize, find_size
from traintime.errors import InputError, UnknownNameError
from traintime.forecast.asked_job import DeviceJob
from traintime.hardware.devices import DeviceCount, find_device, parse_devices
from traintime.hardware.machine import choose_device, detect_machine
from traintime.ledger.paths import cache_folder
from traintime.recipe.question import Question, is_question, is_this_machine, make_question
from traintime.workload.find_model import HOW_TO_NAME, find_graph, find_subject, from_module
from traintime.workload.kernels import KernelGraph, Numerics, Target
from traintime.workload.sample import Sample, read_sample
from traintime.workload.shipped import ALIASES, check_shipped_sample, shipped_graph, shipped_names

if TYPE_CHECKING:
    from torch import nn

    from traintime.api.own_network import Graphs
    from traintime.workload.capture import Subject
    from traintime.workload.captured_step import Loss

ONLY_IN_TEXT = "lookup"
"""The kind of kernel that reads rows by the numbers of words."""
COLOURS = 3
"""Channels of a picture."""


@dataclass(frozen=True)
class Asked:
    """A question that has been looked up.

    Args:
        job: Whatever it runs on.
        graphs: The model by numerics and target; each is captured when it is first needed.
        device: As typed.
        pilot: Real steps to take here; 0 for none.
        subject: Makes the model to take them with; None for one that is known as a graph alone.
    """

    job: DeviceJob
    graphs: Graphs
    device: str
    pilot: int = 0
    subject: Callable[[], Subject] | None = None


def asks_of_devices(fields: Mapping[str, Any]) -> bool:
    """Say whether fields ask for a forecast on devices, and not of our trainer on this machine."""
    return is_question(fields, NETWORKS, OwnDataSets())


def look_up(fields: Mapping[str, Any]) -> Asked:
    """Return what a question needs, before anything is computed.

    Args:
        fields: As they were typed.

    Raises:
        InputError: Something in it is unknown or impossible.
        MissingExtraError: The model has to be captured, and a package for it is not installed.
    """
    if is_own_network(fields):
        from traintime.api.own_network import look_up_own

        return Asked(*look_up_own(fields))
    question = make_question(fields)
    _check_model(question.model)
    _check_data_and_devices(question)
    text = _input_as_typed(question)
    if shipped_graph(question.model, "fp32"):
        asked = _asked(
            question,
            cache(
                lambda numerics, target: find_graph(question.model, numerics, text, target=target)
            ),
        )
        check_shipped_sample(asked.graphs("fp32", "cuda"), asked.job.sample)
        return asked
    of_data = find_size(question.data).shape if question.data else None
    otherwise = Sample(of_data) if of_data else None
    return _asked_of(question, cache(lambda: find_subject(question.model, text, otherwise)))


def look_up_module(
    module: nn.Module, example_batch: Any, loss: Loss | None, fields: Mapping[str, Any]
) -> Asked:
    """Return what a question about a torch module needs.

    Args:
        module: What is trained; it is not changed.
        example_batch: What its forward takes; the first dimension is the batch.
        loss: Makes a scalar of the output; None for the model's own, or cross-entropy.
        fields: Of a question, but for model and input.

    Raises:
        InputError: Something in it is impossible, or the module cannot be captured.
    """
    if fields.get("input") is not None:
        raise InputError("The example batch says what the input is; leave input= out")
    if fields.get("model") is not None:
        raise InputError("The module says what the model is; leave model= out")
    subject = from_module(module, example_batch, loss)
    given = {"model": subject.name, "batch_size": _rows(example_batch), **fields}
    if "optimizer" in given:
        given["optimizer"] = _optimizer_name(given["optimizer"])

    question = make_question(given)
    _check_data_and_devices(question)
    return _asked_of(question, lambda: subject)


def find_devices(text: str, listener: Listener) -> tuple[DeviceCount, ...]:
    """Return the devices that a list means; "cpu", "cuda" and "auto" are of this machine.

    Raises:
        InputError: One of them is not known.
    """
    if not any(is_this_machine(part.strip()) for part in text.split(",")):
        return parse_devices(text)
    found: list[DeviceCount] = []
    for part in filter(None, map(str.strip, text.split(","))):
        found += [_device_here(part, listener)] if is_this_machine(part) else parse_devices(part)
    return tuple(dict.fromkeys(found))


def _device_here(text: str, listener: Listener) -> DeviceCount:
    """Return this machine's GPU as the catalogue has it, or its processor as it was measured."""
    here = detect_machine(cache_folder())
    chosen = choose_device(text, here)
    if chosen == "cpu":
        from traintime.api.machine import machine
        from traintime.forecast.own_cpu import spec_of_profile

        return DeviceCount(spec_of_profile(machine("cpu", listener=listener)))
    return DeviceCount(find_device(here.gpus[int(chosen.partition(":")[2])].name))


def _check_data_and_devices(question: Question) -> None:
    """Refuse names that nobody knows, before anything is captured."""
    if question.data:
        find_size(question.data)
    named = filter(None, map(str.strip, question.device.split(",")))
    others = ",".join(part for part in named if not is_this_machine(part))
    if others:
        parse_devices(others)


def _check_model(model: str) -> None:
    """Refuse a name that nobody knows, with the nearest of shipped models and of our networks."""
    if ":" in model or model.endswith(".py") or shipped_graph(model, "fp32"):
        return
    if model in NETWORKS:
        raise InputError(
            f"{model} is one of traintime's own networks for small images. Type data=mnist, "
            "data=fashion-mnist, data=cifar10 or data=digits with it"
        )
    raise UnknownNameError("model", model, {*shipped_names(), *ALIASES, *NETWORKS}, HOW_TO_NAME)


def _input_as_typed(question: Question) -> str:
    """Return the input as the capture reads it, where a number alone says side or length."""
    text = question.input or ""
    if not text.isdigit():
        return text
    library = question.model.partition(":")[0]
    return {"hf": f"{text} tokens", "timm": f"3x{text}x{text}"}.get(library, text)


def _asked_of(question: Question, subject: Callable[[], Subject]) -> Asked:
    """Return what a question about a model needs that is built here, once."""
    found = subject()  # says what is missing, if torch is
    from traintime.workload.capture import graph_of

    @cache
    def graph(numerics: Numerics, target: Target) -> KernelGraph:
        return graph_of(found, numerics, target=target)

    if not found.half:
        return _asked(question, graph, subject)
    if question.precision not in ("auto", "half"):
        raise InputError(
            f"precision={question.precision} computes with weights in fp32, and those of "
            f"{question.model} are in 16 bits. Type precision=half, or give module.float()"
        )
    asked = _asked(question.model_copy(update={"precision": "half"}), graph, subject)
    note = "Its weights are in 16 bits, so gradients and the optimizer's values are too"
    return replace(asked, job=replace(asked.job, notes=(*asked.job.notes, note)))


def _asked(
    question: Question, graphs: Graphs, subject: Callable[[], Subject] | None = None
) -> Asked:
    numerics = "amp" if question.precision in ("auto", "amp") else "fp32"
    graph = graphs(numerics, _target(question.device))
    sample = _sample(question, graph)
    train, validation, notes = _sizes(question, sample)
    job = DeviceJob(
        model=question.model,
        sample=sample,
        train_samples=train,
        validation_samples=validation,
        epochs=question.epochs,
        batch_size=question.batch_size,
        accumulate=question.accumulate,
        optimizer=question.optimizer or ("adamw" if sample.tokens else "sgd"),
        precision=question.precision,
        memory_format=question.memory_format,
        compiled=question.compile,
        sharding=question.sharding,
        recompute=question.recompute,
        notes=notes,
    )
    return Asked(job, graphs, question.device, question.pilot, subject)


def _target(device: str) -> Target:
    """Return what a device runs kernels of; a list is captured for GPUs first."""
    if not is_this_machine(device):
        return "cuda"
    return "cpu" if choose_device(device, detect_machine(cache_folder())) == "cpu" else "cuda"


def _sample(question: Question, graph: KernelGraph) -> Sample:
    """Return the input asked for, else the graph's own; one number is a side or a length."""
    tokens = is_text(graph)
    if question.input is None:
        return Sample(graph.input_shape, tokens=tokens)
    sample = read_sample(question.input)
    if len(sample.shape) > 1:
        return sample
    if graph.size_unit == "pixels":
        if sample.tokens:
            raise InputError(
                f"{question.model} takes images, and input='{question.input}' is text. Type for "
                f"example input={Sample(graph.input_shape)}"
            )
        return Sample((graph.input_shape[0], *sample.shape, *sample.shape))
    return Sample(sample.shape, tokens=tokens)


def is_text(graph: KernelGraph) -> bool:
    """Say whether a model is given numbers of words."""
    if graph.size_unit or len(graph.input_shape) != 1:
        return graph.size_unit == "tokens"
    return any(kernel.kind == ONLY_IN_TEXT for kernel in graph.kernels)


def _sizes(question: Question, sample: Sample) -> tuple[int, int, tuple[str, ...]]:
    """Return samples to train and to validate on, and what to say of them."""
    asked, validation = question.samples, question.validation_samples
    if question.tokens:
        train = _samples_of(question.tokens, question, sample)
        return (
            train,
            validation or 0,
            (f"{question.tokens:,} tokens: {train:,} samples of {sample}",),
        )
    if question.data is None:
        return asked or 0, validation or 0, ()
    size = find_size(question.data)
    if not _may_be(size, sample):
        raise InputError(
            f"{size.title} is made of {size.made_of} and {question.model} takes "
            f"{'text' if sample.tokens else f'input {sample}'}. Type data= of its kind, or "
            "samples=50000"
        )
    train, held_out = size.samples(sample.shape[0])
    if (asked or 1) > train:
        raise InputError(
            f"{asked or 1:,} training samples were asked for, and {size.title} has {train:,}. "
            "Leave samples= out to use all, or leave data= out"
        )
    used = asked or train
    watched = held_out if validation is None else validation
    return used, watched, tuple(_data_lines(size, sample, used, watched))


def _may_be(size: KnownSize, sample: Sample) -> bool:
    """Say whether samples of a data set may look so; some are fed to models in several ways."""
    is_image = len(sample.shape) == 3 and not sample.tokens
    if size.made_of == "recordings":  # a spectrogram may be an image of one channel
        return not sample.tokens and not (is_image and sample.shape[0] == COLOURS)
    if size.unit == "samples":
        return not (is_image and size.is_text)
    return size.is_text == sample.tokens and not (is_image and size.is_text)


def _samples_of(tokens: int, question: Question, sample: Sample) -> int:
    """Return how many samples hold so many tokens, the last one filled up."""
    if not sample.tokens:
        takes = f"{question.model} takes input {sample}"
        what = f"input={sample} is no text" if question.input else takes
        words = ", or an input of words such as input='2048 tokens'"
        raise InputError(
            f"tokens={tokens:,} is for models that read text, and {what}. Type samples= and "
            f"epochs= instead{words * (len(sample.shape) == 1)}"
        )
    step = question.batch_size * sample.shape[0]
    if tokens < step:
        raise InputError(
            f"tokens={tokens:,} are less than one batch: {question.batch_size:,} samples of "
            f"{sample} are {step:,}. Type tokens={step} or more, or a smaller batch_size="
        )
    return math.ceil(tokens / sample.shape[0])


def _data_lines(size: KnownSize, sample: Sample, train: int, validation: int) -> Iterator[str]:
    kind = f"sequences of {sample}" if size.unit == "tokens" else size.unit
    yield (
        f"{size.title}: {train:,} {kind} to train on and {validation:,} to validate on "
        f"({size.source})"
    )
    if size.shape and len(sample.shape) == 3 and size.shape != sample.shape:
        own = Sample(size.shape)
        yield f"Its images of {own} are made {sample}; type input={own} to leave them as they are"


def _rows(batch: Any) -> int:
    """Return the samples of an example batch: the first side of its first tensor."""
    if isinstance(batch, Mapping):
        batch = tuple(cast("Mapping[str, Any]", batch).values())
    if isinstance(batch, tuple | list):
        parts = cast("Sequence[Any]", batch)
        return next((rows for part in parts if (rows := _rows(part))), 0)
    shape: Any = getattr(batch, "shape", ())
    return int(shape[0]) if len(shape) else 0


def _optimizer_name(optimizer: object) -> str:
    """Return the name of an optimizer given by name, as its class or as an object of it."""
    if isinstance(optimizer, str):
        return optimizer
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    return kind.__name__.casefold()
