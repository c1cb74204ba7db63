"""A whole training job on devices that nobody here owns.

A step is as many micro-batches as are accumulated, one update, and what of the gradients' exchange
the backward does not hide. Its interval is as wide as the evidence for the device allows.
"""

from __future__ import annotations

import math

from traintime.forecast.asked_job import (
    DeviceJob,
    Fit,
    SizedGraph,
    SizedModel,
    micro_batch_size,
    sample_bytes,
    settle_precision,
)
from traintime.forecast.device_assumptions import job_lines, memory_lines
from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.device_memory import MemoryUse, find_room, peak_interval
from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.job_step import predict_job_step
from traintime.hardware.devices import DeviceCount
from traintime.units import Interval

SCALING_SIGMA = 0.1
"""Of the logarithm of a step's time over several devices, beside a single one's: vTrain, which
measures the exchange on the devices themselves, is 8.4 % off on 8 of them."""


def forecast_on_device(
    job: DeviceJob, model: SizedModel, device: DeviceCount, parameters: Fit
) -> DeviceForecast:
    """Return what a job takes on a device, or on several that share each batch.

    Raises:
        InputError: The device cannot compute it as asked, too little is known of it, or the batch
            does not suit the data or the devices.
    """
    precision = settle_precision(job.precision, device.spec)
    micro_batch = micro_batch_size(job, device)
    sized = model(precision, micro_batch)
    step = predict_job_step(job, sized, device, precision, parameters)
    use = _memory_use(job, sized, device, precision).with_heap(micro_batch)
    room = find_room(use, micro_batch, job.accumulate * device.count)
    evidence = parameters.evidence(device.spec)
    sigma = _sigma(parameters, evidence, device.count)
    train_s = job.epochs * job.steps_per_epoch * step.seconds
    validate_s = job.epochs * _validation_steps(job, device, micro_batch) * step.forward_s

    def interval(seconds: float) -> Interval:
        return Interval.lognormal(seconds, sigma)

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
            *memory_lines(job, model, use, device, room),
            *job_lines(job, sized, step, device, precision, evidence),
        ),
        step_time_s=interval(step.seconds),
        epoch_time_s=interval(job.steps_per_epoch * step.seconds),
        total_s=interval(train_s + validate_s),
        stages_s={"train": interval(train_s), "validate": interval(validate_s)},
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
        kernels=step.most_expensive(),
    )


def _validation_steps(job: DeviceJob, device: DeviceCount, micro_batch: int) -> int:
    return math.ceil(job.validation_samples / (micro_batch * device.count))


def _sigma(parameters: Fit, evidence: str, num_devices: int) -> float:
    sigma = parameters.spread[evidence]
    return math.hypot(sigma, SCALING_SIGMA) if num_devices > 1 else sigma


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
    )
