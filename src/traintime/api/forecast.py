"""The forecast verb: for this machine, and for devices that need not be here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from traintime.api.listener import Listener
from traintime.errors import InputError, UnknownNameError
from traintime.hardware.devices import EVERY_DEVICE
from traintime.hardware.threads import share_processor
from traintime.recipe import Recipe
from traintime.recipe.parse import read_fields
from traintime.recipe.question import Question, make_question
from traintime.units import format_duration

if TYPE_CHECKING:
    from torch import nn

    from traintime.api.job import RecipeLike
    from traintime.api.question import Asked
    from traintime.forecast.device_forecast import DeviceForecast
    from traintime.forecast.forecast import Forecast
    from traintime.hardware.devices import DeviceCount
    from traintime.workload.captured_step import Loss
    from traintime.workload.kernels import KernelGraph, Numerics, Target


@overload
def forecast(recipe: Recipe, /, *, listener: Listener | None = None) -> Forecast: ...


@overload
def forecast(
    recipe: Question, /, *, listener: Listener | None = None, **fields: Any
) -> DeviceForecast: ...


@overload
def forecast(
    recipe: nn.Module,
    example_batch: Any,
    /,
    *,
    loss: Loss | None = None,
    listener: Listener | None = None,
    **fields: Any,
) -> DeviceForecast: ...


@overload
def forecast(
    recipe: RecipeLike = None, /, *, listener: Listener | None = None, **fields: Any
) -> Forecast | DeviceForecast: ...


def forecast(
    recipe: RecipeLike | Question | nn.Module = None,
    example_batch: Any = None,
    /,
    *,
    loss: Loss | None = None,
    listener: Listener | None = None,
    **fields: Any,
) -> Forecast | DeviceForecast:
    """Return what a training job will take, without running it.

    A job of our trainer on this machine gets a `Forecast`, down to the time to a target. Any other
    model, and any device of the catalogue, gets a `DeviceForecast`: `forecast(model="resnet50",
    data="imagenet", epochs=90, batch_size=256, device="rtx-3090")`.

    Args:
        recipe: A recipe, a question, the path of a YAML file, or a torch module.
        example_batch: What a torch module's forward takes; the first dimension is the batch.
        loss: Of a torch module: makes a scalar of its output.
        listener: Told if the machine has to be measured first.
        **fields: Fields of a recipe or question, for example `data="mnist", model="lenet"`, or
            `device="a100x4", samples=50_000`.

    Raises:
        InputError: The job cannot be done as it was written.
        MissingExtraError: The model has to be captured, and a package for it is not installed.
    """
    from traintime.api.question import asks_of_devices, find_devices

    listener = listener or Listener()
    share_processor()
    asked = _look_up(recipe, example_batch, loss, fields, asks_of_devices)
    if asked is None:
        return _forecast_here({**_fields_of(recipe), **fields}, listener)  # pyright: ignore[reportArgumentType]
    if asked.pilot:
        from traintime.api.pilot import check_pilot

        check_pilot(asked)
    devices = find_devices(asked.device, listener)
    if len(devices) != 1:
        raise InputError(
            f"device={asked.device} names {len(devices)} devices, and one is forecast at a time. "
            f'Call traintime.forecast_devices(devices="{asked.device}", ...) for all of them'
        )
    answer = _forecast_each(asked, devices, listener, skip=False)[0]
    if not asked.pilot:
        return answer
    from traintime.api.pilot import after_pilot

    return after_pilot(asked, answer, devices[0].spec, listener)


def _forecast_here(fields: dict[str, Any], listener: Listener) -> Forecast:
    """Forecast a job of our trainer on this machine, after a few of its steps if it is asked for.

    Args:
        fields: Of a recipe, and maybe `pilot`.
        listener: Told of everything that takes time.
    """
    from traintime.api.input_plan import with_input
    from traintime.api.job import forecast_known_job, profile_for, read_job, startup_seconds

    pilot = fields.pop("pilot", 0)
    job = read_job(None, fields, say=listener.say)
    num_steps = make_question({"model": job.recipe.model, "pilot": pilot}).pilot
    profile = profile_for(job, listener)
    job = with_input(job, profile.device)
    if num_steps and not job.input.is_resident:
        raise InputError(
            "pilot= takes steps on samples that lie in memory; these images would be read while "
            "it trains. Leave pilot= out; `traintime train` watches how fast they come"
        )
    startup_s = startup_seconds(profile)
    answer = forecast_known_job(job, profile, startup_s=startup_s)
    if not num_steps:
        return answer
    from traintime.api.trial import take_steps

    listener.say(
        f"Taking {num_steps} steps of {job.recipe.model}, "
        f"about {format_duration(num_steps * answer.step_time_s.median)} ..."
    )
    trial = take_steps(job, answer, num_steps)
    return forecast_known_job(job, profile, trial, startup_s)


def forecast_devices(
    recipe: RecipeLike | Question | nn.Module = None,
    example_batch: Any = None,
    /,
    *,
    devices: str | None = None,
    sort_by: str = "time",
    loss: Loss | None = None,
    listener: Listener | None = None,
    **fields: Any,
) -> tuple[DeviceForecast, ...]:
    """Return what a training job will take on each of several devices.

    Args:
        recipe: A recipe, a question, the path of a YAML file, or a torch module.
        example_batch: What a torch module's forward takes; the first dimension is the batch.
        devices: Keys of the catalogue with their numbers, such as "rtx-3090,a100x4"; "all" is each
            of them once, in brief, without those of which too little is known. `device=` says the
            same.
        sort_by: "time" (of the whole job), "memory" (that is left) or "efficiency" (FLOP per
            joule). Those that the job does not fit into come last.
        loss: Of a torch module: makes a scalar of its output.
        listener: Told which devices were left out.
        **fields: Fields of a recipe or question, for example `model="resnet50", data="imagenet"`.

    Raises:
        InputError: The job cannot be done as it was written, on a device that was named.
        MissingExtraError: The model has to be captured, and a package for it is not installed.
    """
    from traintime.api.question import find_devices

    if sort_by not in SORTS:
        raise UnknownNameError("order", sort_by, SORTS, "Type for example sort_by=time")
    listener = listener or Listener()
    fields["device"] = devices or fields.get("device") or EVERY_DEVICE
    asked = _look_up(recipe, example_batch, loss, fields, lambda _: True)
    assert asked, "every list of devices is a question"
    if asked.pilot:
        raise InputError(
            "pilot= takes real steps on this machine, and several devices were asked for. Leave "
            "it out, or type device=cpu"
        )
    every = EVERY_DEVICE in [part.strip().casefold() for part in asked.device.split(",")]
    found = find_devices(asked.device, listener)
    forecasts = _forecast_each(asked, found, listener, skip=every)
    order = SORTS[sort_by]
    return tuple(sorted(forecasts, key=lambda each: (not each.fits, *order(each))))


def _look_up(
    recipe: RecipeLike | Question | nn.Module,
    example_batch: Any,
    loss: Loss | None,
    fields: Mapping[str, Any],
    is_asked: Callable[[Mapping[str, Any]], bool],
) -> Asked | None:
    """Return what was asked of devices, or None for a job of our trainer here."""
    from traintime.api.question import look_up, look_up_module

    if recipe is None or isinstance(recipe, str | Path | Recipe | Question):
        given = {**_fields_of(recipe), **fields}
        if loss is not None:
            raise InputError(
                "loss= is of a torch module: forecast(module, example_batch, loss=...). A model by "
                "its name has its own; leave loss= out"
            )
        if callable(getattr(given.get("model"), "named_parameters", None)):
            raise InputError(
                "model= is a name. Give a torch module itself, first: forecast(module, "
                "example_batch, ...)"
            )
        return look_up(given) if isinstance(recipe, Question) or is_asked(given) else None
    if loss is not None and not callable(loss):
        raise InputError(
            f"The loss has to make a scalar of the model's output, and {loss!r} is no function. "
            "Write for example loss=lambda output: output.square().mean()"
        )
    if isinstance(recipe, type):
        raise InputError(
            f"{recipe.__name__} is a class; give an instance of it: forecast({recipe.__name__}("
            "...), example_batch, ...)"
        )
    if not callable(getattr(recipe, "named_parameters", None)):
        raise InputError(
            f"A {type(recipe).__name__} was given where a recipe, a YAML file or a torch module is "
            'due. Write for example forecast(model="resnet50", data="imagenet", device="rtx-3090")'
        )
    if example_batch is None:
        raise InputError(
            "What the module is given is not known. Write forecast(module, example_batch, ...)"
        )
    return look_up_module(recipe, example_batch, loss, fields)


def _fields_of(recipe: RecipeLike | Question) -> dict[str, Any]:
    if recipe is None:
        return {}
    if isinstance(recipe, Question):
        return recipe.model_dump(exclude_unset=True)
    return recipe.model_dump() if isinstance(recipe, Recipe) else read_fields([str(recipe)])


def _forecast_each(
    asked: Asked, devices: tuple[DeviceCount, ...], listener: Listener, *, skip: bool
) -> list[DeviceForecast]:
    """Forecast on each device, all by the same kernels.

    Args:
        asked: What is asked.
        devices: One or more.
        listener: Told what was left out.
        skip: Leave out a device that cannot do it as asked, unless none can, and be brief: they are
            many.
    """
    from traintime.forecast.asked_job import SizedModel, parameters_for, sized_model
    from traintime.forecast.device_job import forecast_on_device

    @cache  # whatever is no processor runs the same kernels
    def model(target: Target) -> SizedModel:
        def graphs(numerics: Numerics) -> KernelGraph:
            return asked.graphs(numerics, target)

        return sized_model(graphs, asked.job.sample, parameters_for(target))

    done: list[DeviceForecast] = []
    refused: dict[str, InputError] = {}
    for device in devices:
        try:
            target = "cpu" if device.spec.kind == "cpu" else "cuda"
            done.append(
                forecast_on_device(
                    asked.job, model(target), device, parameters_for(target), brief=skip
                )
            )
        except InputError as error:
            if not skip:
                raise
            refused[str(device)] = error
    if refused and not done:
        raise next(iter(refused.values()))
    if refused:
        listener.say(
            "Left out, since they cannot do it or too little is known of them: "
            f"{', '.join(refused)}"
        )
    return done


def _by_time(forecast: DeviceForecast) -> tuple[float, ...]:
    return (forecast.longest_s.median,)


def _by_memory(forecast: DeviceForecast) -> tuple[float, ...]:
    capacity = forecast.capacity_bytes
    left = 0.0 if capacity is None else capacity - forecast.peak_memory_bytes.median
    return (float(capacity is None), -left)


def _by_efficiency(forecast: DeviceForecast) -> tuple[float, ...]:
    efficiency = forecast.flops_per_joule
    return (float(efficiency is None), -(efficiency or 0.0))


SORTS: Mapping[str, Callable[[DeviceForecast], tuple[float, ...]]] = {
    "time": _by_time,
    "memory": _by_memory,
    "efficiency": _by_efficiency,
}
