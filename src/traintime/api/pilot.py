"""Real steps of a job on this machine, to forecast the rest of it by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from traintime.api.listener import Listener
from traintime.api.machine import remembered_unsteadiness, usable_device
from traintime.errors import InputError
from traintime.forecast.after_steps import after_steps
from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.device_parameters import RUNNING
from traintime.forecast.processor_parameters import processor_parameters
from traintime.hardware.machine import detect_machine
from traintime.ledger.paths import cache_folder
from traintime.recipe.question import is_this_machine
from traintime.units import format_bytes, format_duration

if TYPE_CHECKING:
    from traintime.api.question import Asked
    from traintime.hardware.devices import DeviceSpec


def check_pilot(asked: Asked) -> None:
    """Refuse real steps where none can be taken, before anything is forecast.

    Raises:
        InputError: The device is not this machine's, or the model is known as a graph alone.
    """
    if not asked.pilot:
        return
    if not is_this_machine(asked.device):
        raise InputError(
            f"pilot={asked.pilot} takes real steps, which only this machine can, and "
            f"device={asked.device} was asked for. Leave one of them out"
        )
    if asked.subject is None:
        raise InputError(
            f"{asked.job.model} is known here by its operations alone, so no step of it can be "
            "taken. Leave pilot= out, or name where its code is: model=timm:NAME, model=hf:NAME "
            "or model=path/to/file.py:build"
        )


def after_pilot(
    asked: Asked, forecast: DeviceForecast, spec: DeviceSpec, listener: Listener
) -> DeviceForecast:
    """Take the steps and return the forecast that they lead to.

    Args:
        asked: With the steps to take.
        forecast: Without them; says how to compute and whether it fits.
        spec: Of the device that they are taken on.
        listener: Told that steps are taken.

    Raises:
        InputError: It would not fit into memory, or a step failed.
    """
    from traintime.forecast.asked_job import uses_channels_last
    from traintime.train.pilot import PilotJob, run_pilot
    from traintime.workload.captured_step import with_values

    assert asked.subject, "checked before"
    job = asked.job
    device = usable_device(asked.device, detect_machine(cache_folder()))
    if not forecast.fits:
        raise InputError(
            f"A step is expected to need {format_bytes(forecast.peak_memory_bytes.median)} and "
            f"{forecast.device_name} has {format_bytes(forecast.capacity_bytes or 0)}, so none was "
            "taken. Type a smaller batch_size=, accumulate=, or leave pilot= out"
        )
    listener.say(
        f"Taking {asked.pilot} steps of {job.model}, "
        f"about {format_duration(asked.pilot * forecast.step_time_s.median)} ..."
    )
    subject = asked.subject()
    micro_batch = math.ceil(job.batch_size / job.accumulate)
    pilot = run_pilot(
        subject.module,
        with_values(subject.inputs(micro_batch, job.sample.shape[-1])),
        subject.loss,
        PilotJob(
            batch_size=micro_batch,
            accumulate=job.accumulate,
            optimizer=job.optimizer,
            precision=forecast.precision,
            device=device,
            channels_last=uses_channels_last(
                job.memory_format, spec, forecast.precision, job.sample
            ),
            compiled=job.compiled,
        ),
        asked.pilot,
    )
    note = (
        f"{len(pilot.steps_s)} steps were taken here, {format_duration(pilot.step_s)} each after "
        f"the first ones; without them {format_duration(forecast.step_time_s.median)} "
        f"({forecast.evidence}) would have been said"
    )
    sigma = math.hypot(processor_parameters().spread[RUNNING], remembered_unsteadiness(device))
    return after_steps(forecast, pilot.step_s, pilot.peak_bytes, sigma, note)
