"""A training job that is asked about, whatever it runs on, and what a device makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from traintime.errors import InputError
from traintime.forecast.device_parameters import Parameters, fitted_parameters
from traintime.forecast.device_step import DevicePrecision, SizedKernel, sized_kernels
from traintime.forecast.kernel_classes import class_name, slow_in_nhwc
from traintime.forecast.processor_parameters import ProcessorParameters, processor_parameters
from traintime.forecast.processor_step import ProcessorKernel, sized_for_processor
from traintime.hardware.devices import DeviceCount, DeviceSpec
from traintime.recipe.question import AskedPrecision, Sharding
from traintime.recipe.recipe import MemoryFormat
from traintime.workload.kernels import KernelGraph, Numerics
from traintime.workload.sample import Sample, relative_size

MATRIX_ENGINE_FROM = 1.5
"""Times the fp32 peak: a device whose 16-bit peak is higher has a matrix engine, Pascal apart."""

MOST_SUGGESTED = 1024
"""Samples of a batch: as many as anybody would try next."""


@dataclass(frozen=True)
class DeviceJob:
    """A training job, whatever it runs on.

    Args:
        model: As it was asked for.
        sample: What the model is given for one sample.
        train_samples: Of an epoch; 0 if that is not known, and a step alone is asked about.
        validation_samples: After each epoch.
        epochs: Passes.
        batch_size: Samples of a step over all devices.
        accumulate: Micro-batches of a step on each device.
        optimizer: Name.
        precision: As it was asked for.
        memory_format: As it was asked for.
        compiled: Whether a compiler joins kernels and captures their launches in graphs.
        sharding: What several devices divide among them.
        recompute: Whether blocks compute their forward again in the backward.
        notes: What else has to hold, for people.
    """

    model: str
    sample: Sample
    train_samples: int
    validation_samples: int
    epochs: int
    batch_size: int
    accumulate: int
    optimizer: str
    precision: AskedPrecision
    memory_format: MemoryFormat
    compiled: bool
    sharding: Sharding = "none"
    recompute: bool = False
    notes: tuple[str, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last batch may be short."""
        return math.ceil(self.train_samples / self.batch_size)


@dataclass(frozen=True)
class SizedGraph:
    """A graph at one batch and input size.

    Args:
        graph: In the numerics of a precision.
        size: u, the input's size relative to the captured one.
        kernels: At that size.
    """

    graph: KernelGraph
    size: float
    kernels: Sequence[SizedKernel | ProcessorKernel]

    @cached_property
    def is_slow_in_nhwc(self) -> bool:
        """Whether some kernels have no good form for images that are stored by channel last."""
        return any(
            slow_in_nhwc(class_name(one.kernel), half=one.kernel.half) for one in self.kernels
        )


Fit = Parameters | ProcessorParameters
"""The law of GPUs and their like, or that of processors, with all that was fitted of it."""


def parameters_for(kind: str) -> Fit:
    """Return the fit that a kind of device belongs to, as `DeviceSpec.kind` names it."""
    return processor_parameters() if kind == "cpu" else fitted_parameters()


SizedModel = Callable[[DevicePrecision, int], SizedGraph]


def sized_model(
    graphs: Callable[[Numerics], KernelGraph], sample: Sample, parameters: Fit
) -> SizedModel:
    """Return a model for a precision and a batch; each is sized once, for however many devices.

    Args:
        graphs: The model as captured, by numerics.
        sample: What it is given.
        parameters: Of the fit.
    """
    graph_of = cache(graphs)

    @cache
    def at(precision: DevicePrecision, batch_size: int) -> SizedGraph:
        graph = graph_of("amp" if precision == "amp" else "fp32")
        size = relative_size(graph, sample)
        if isinstance(parameters, ProcessorParameters):
            kernels = sized_for_processor(graph, batch_size, size, precision, parameters)
        else:
            kernels = sized_kernels(graph, batch_size, size, precision, parameters)
        return SizedGraph(graph, size, kernels)

    return at


def settle_precision(asked: AskedPrecision, spec: DeviceSpec) -> DevicePrecision:
    """Return the precision to compute in; auto is amp where that is faster by the data sheet.

    Raises:
        InputError: The device cannot compute so.
    """
    if asked == "auto":
        return "amp" if (spec.half_flops or 0) > (spec.fp32_flops or 0) else "fp32"
    if asked == "tf32" and not spec.tf32_flops:
        raise InputError(f"{spec.name} has no TF32. Type precision=fp32, or leave precision= out")
    if asked in ("amp", "half") and not spec.half_flops:
        raise InputError(
            f"{spec.name} gains nothing by 16 bits: its data sheet has no rate for them. "
            "Type precision=fp32, or leave precision= out"
        )
    if asked == "fp32" and not spec.fp32_flops and spec.half_flops:
        raise InputError(
            f"The fp32 rate of {spec.name} was never published. Type precision=amp, or leave "
            "precision= out"
        )
    return asked


def micro_batch_size(job: DeviceJob, device: DeviceCount) -> int:
    """Return the samples that a device computes at a time; the largest part where they differ.

    Raises:
        InputError: There are fewer samples than parts, or than a batch.
    """
    parts = device.count * job.accumulate
    if job.batch_size > job.train_samples > 0:
        fitting = min(MOST_SUGGESTED, 1 << (job.train_samples.bit_length() - 1))
        if fitting < parts:
            raise InputError(
                f"A batch of {job.batch_size:,} samples is more than the {job.train_samples:,} "
                f"that are trained on, and {parts:,} devices and micro-batches need as many in "
                "each. Type fewer devices, a smaller accumulate=, or more samples="
            )
        raise InputError(
            f"A batch of {job.batch_size:,} samples is more than the {job.train_samples:,} that "
            f"are trained on. Type batch_size={fitting}"
        )
    if parts > job.batch_size:
        raise InputError(
            f"A batch of {job.batch_size:,} samples cannot be split over {device.count:,} devices"
            f"{f' and {job.accumulate:,} micro-batches' if job.accumulate > 1 else ''}. "
            f"Type batch_size={parts} or more"
        )
    return math.ceil(job.batch_size / parts)


def uses_channels_last(
    asked: MemoryFormat, spec: DeviceSpec, precision: str, sample: Sample
) -> bool:
    """Say whether images are stored by channel last; auto does where matrix engines want it.

    On a processor oneDNN converts what it wants otherwise, and the law was fitted to images that
    are stored as they come.
    """
    if asked != "auto" or spec.kind == "cpu":
        return asked == "channels_last"
    peak, plain = spec.half_flops or 0, spec.fp32_flops or 0
    has_engine = peak > MATRIX_ENGINE_FROM * plain and spec.architecture != "Pascal"
    return has_engine and precision in ("amp", "half") and len(sample.shape) == 3


def sample_bytes(sample: Sample) -> float:
    """Return bytes of a sample on the device: values of 4, or tokens and labels of 8 each."""
    return math.prod(sample.shape) * (16.0 if sample.tokens else 4.0)
