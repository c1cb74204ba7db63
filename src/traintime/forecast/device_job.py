"""A whole training job on devices that nobody here owns.

A step is as many micro-batches as are accumulated, one update, and what of the gradients' exchange
the backward does not hide. Its interval is as wide as the evidence for the device allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from traintime.forecast.asked_job import (
    DeviceJob,
    Fit,
    SizedGraph,
    SizedModel,
    micro_batch_size,
    sample_bytes,
    settle_precision,
)
from traintime.forecast.data_parallel import exchange_parameters
from traintime.forecast.device_assumptions import job_lines, memory_lines
from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.device_memory import MemoryUse, find_room, peak_interval
from traintime.forecast.device_parameters import LANGUAGE_MODELS, Evidence
from traintime.forecast.device_scaling import scaling_lines
from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.job_step import JobStep, predict_job_step
from traintime.forecast.sharded import computed_in
from traintime.hardware.devices import ACCELERATORS, DeviceCount, DeviceSpec
from traintime.units import Interval

COMPILED_SIGMA, COMPILED_SIGMA_ON_CPU = 0.06, 0.18
"""Of the logarithm of a step's time, what compiling adds. On GPUs the root mean square of what the
three compiled trainings of docs/accuracy.md (fms-fsdp, nanoGPT) are off by; on a processor the
deviation of a compiled step over one as it is, which is as long in the mean
(`benchmarks/compiled_steps.py`)."""


def forecast_on_device(
    job: DeviceJob,
    model: SizedModel,
    device: DeviceCount,
    parameters: Fit,
    *,
    brief: bool = False,
) -> DeviceForecast:
    """Return what a job takes on a device, or on several that share each batch.

    Args:
        job: What is asked.
        model: Its kernels at any size.
        device: How many of what.
        parameters: Of the fit.
        brief: Leave out what takes long and a list of many devices does not show: what would make
            a job fit that does not, and the most expensive kernels.

    Raises:
        InputError: The device cannot compute it as asked, too little is known of it, or the batch
            does not suit the data or the devices.
    """
    precision = settle_precision(job.precision, device.spec)
    micro_batch = micro_batch_size(job, device)
    computed = computed_in(precision, job.sharding, device.count)
    sized = model(computed, micro_batch)
    asked, (job, step) = job, _fastest_step(job, model, device, computed, parameters)
    use = _memory_use(job, sized, device, precision).with_heap(micro_batch)
    room = find_room(use, micro_batch, job.accumulate * device.count)
    evidence = parameters.evidence(device.spec)
    sigma = _sigma(job, device.spec, parameters, evidence)
    of_step = step.interval(sigma, exchange_parameters())
    times = _times(job, step, of_step, _validation_steps(job, device, micro_batch))
    return DeviceForecast(
        model=job.model,
        model_source=sized.graph.source,
        device=device.spec.key,
        device_name=device.spec.name,
        num_devices=device.count,
        precision=precision,
        batch_size=job.batch_size,
        input_shape=job.sample.shape,
        parameters=sized.graph.parameters,
        evidence=evidence,
        assumptions=(
            *memory_lines(job, model, use, device, room, tries_remedies=not brief),
            *job_lines(asked, sized, step, device, precision, evidence),
            *scaling_lines(job, model, step, device, precision, parameters),
        ),
        step_time_s=of_step,
        epoch_time_s=times.get("epoch"),
        total_s=times.get("total"),
        stages_s={stage: times[stage] for stage in ("train", "validate") if stage in times},
        samples_per_s=job.batch_size / step.seconds,
        step_by_kind=step.by_kind(),
        limited_by=step.limited_by(),
        utilization=step.flops / (step.one.peak_flops * step.seconds),
        flops_per_step=step.flops * device.count,
        peak_memory_bytes=peak_interval(room.peak_bytes, use.sigma),
        memory_by_part=room.by_part,
        capacity_bytes=room.capacity_bytes,
        chance_it_fits=room.chance,
        largest_batch_size=room.largest_batch_size,
        flops_per_joule=step.flops / (device.spec.tdp_w * step.seconds)
        if device.spec.tdp_w
        else None,
        steps_per_epoch=job.steps_per_epoch,
        epochs=job.epochs,
        kernels=() if brief else step.most_expensive(),
        sharding=job.sharding,
        recompute=job.recompute,
    )


def _fastest_step(
    job: DeviceJob,
    model: SizedModel,
    device: DeviceCount,
    precision: DevicePrecision,
    parameters: Fit,
) -> tuple[DeviceJob, JobStep]:
    """Return a step with what is free to choose chosen, and the job that it is of.

    Images are stored as `auto` has it where no kernel is the slower for it, else as is faster. TF32
    is a permission: libraries keep to full fp32 where its algorithms are faster.
    """
    micro_batch = micro_batch_size(job, device)
    sized = model(precision, micro_batch)
    ways = [(job, predict_job_step(job, sized, device, precision, parameters))]
    if job.memory_format == "auto" and ways[0][1].channels_last and sized.is_slow_in_nhwc:
        other = replace(job, memory_format="contiguous")
        ways.append((other, predict_job_step(other, sized, device, precision, parameters)))
    if precision == "tf32":
        plain = model("fp32", micro_batch)
        ways.append((job, predict_job_step(job, plain, device, "fp32", parameters)))
    return min(ways, key=lambda way: way[1].seconds)


def _sigma(job: DeviceJob, spec: DeviceSpec, parameters: Fit, evidence: Evidence) -> float:
    """Return σ of the logarithm of a step's time on one device."""
    of_words = parameters.spread.get(LANGUAGE_MODELS, 0.0) if job.sample.tokens else 0.0
    sigma = max(parameters.spread[evidence], of_words)
    if not job.compiled or spec.kind in ACCELERATORS:
        return sigma
    return math.hypot(sigma, COMPILED_SIGMA_ON_CPU if spec.kind == "cpu" else COMPILED_SIGMA)


def _times(
    job: DeviceJob, step: JobStep, of_step: Interval, validation_steps: int
) -> Mapping[str, Interval]:
    """Return the times of an epoch, of stages and in total; none if nobody said how many samples.

    All of them are as sure as that of a step.
    """
    if not job.train_samples:
        return {}
    train_s = job.epochs * job.steps_per_epoch * step.seconds
    validate_s = job.epochs * validation_steps * step.forward_s
    seconds = {
        "epoch": job.steps_per_epoch * step.seconds,
        "total": train_s + validate_s,
        "train": train_s,
        "validate": validate_s,
    }
    return {of: of_step.scaled(time_s / step.seconds) for of, time_s in seconds.items()}


def _validation_steps(job: DeviceJob, device: DeviceCount, micro_batch: int) -> int:
    return math.ceil(job.validation_samples / (micro_batch * device.count))


def _memory_use(
    job: DeviceJob, sized: SizedGraph, device: DeviceCount, precision: DevicePrecision
) -> MemoryUse:
    return MemoryUse(
        graph=sized.graph,
        size=sized.size,
        sample_bytes=sample_bytes(job.sample),
        precision=precision,
        optimizer=job.optimizer,
        accumulates=job.accumulate > 1,
        num_devices=device.count,
        spec=device.spec,
        sharding=job.sharding,
        recompute=job.recompute,
    )
