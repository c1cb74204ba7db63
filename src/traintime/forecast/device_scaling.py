"""Whether a job gains anything by as many devices as were asked for."""

from __future__ import annotations

from collections.abc import Iterator

from traintime.forecast.asked_job import DeviceJob, Fit, SizedModel, micro_batch_size
from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.job_step import JobStep, predict_job_step
from traintime.forecast.sharded import computed_in
from traintime.hardware.devices import DeviceCount
from traintime.units import format_duration

AS_FAST = 1.1
"""Times a step on twice the devices: one that takes no longer gains nothing by them."""


def scaling_lines(
    job: DeviceJob,
    model: SizedModel,
    step: JobStep,
    device: DeviceCount,
    precision: DevicePrecision,
    parameters: Fit,
) -> Iterator[str]:
    """Say so where fewer devices would compute the same batches about as fast.

    Args:
        job: What is asked.
        model: For its kernels at the batches of fewer devices.
        step: On as many as were asked for.
        device: How many of what.
        precision: To compute in.
        parameters: Of the fit.
    """
    fewest, seconds = device, step.seconds
    while fewest.count > 1:
        half = DeviceCount(device.spec, fewest.count // 2)
        computed = computed_in(precision, job.sharding, half.count)
        sized = model(computed, micro_batch_size(job, half))
        taken = predict_job_step(job, sized, half, computed, parameters).seconds
        if taken > AS_FAST * step.seconds:
            break
        fewest, seconds = half, taken
    if fewest != device:
        yield (
            f"More devices do not help at this batch: {fewest} takes {format_duration(seconds)} a "
            f"step, {device} {format_duration(step.seconds)}. A larger batch_size would use them"
        )
