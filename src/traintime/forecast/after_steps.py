"""A forecast after a few real steps: what they took replaces what the law says of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.device_memory import chance_it_fits
from traintime.forecast.device_parameters import RUNNING
from traintime.units import Interval

MEMORY_SIGMA = 0.03
"""Assumed: later steps need little more than the first ten, which hold every state."""


def after_steps(
    forecast: DeviceForecast,
    step_s: float,
    tensor_bytes: float | None,
    sigma: float,
    note: str,
) -> DeviceForecast:
    """Return the forecast of a job of which some steps were taken.

    All of its times are scaled as the step's is; what limits it stays. The largest batch that fits
    is not known any more where memory was seen.

    Args:
        forecast: By the law.
        step_s: Seconds of a step, as seen.
        tensor_bytes: The most memory held beyond the process's own, as seen; None if not known.
        sigma: Of the logarithm of an epoch's time, after so many steps.
        note: Said first among the assumptions.
    """
    factor = step_s / forecast.step_time_s.median

    def scaled(interval: Interval) -> Interval:
        return Interval.lognormal(interval.median * factor, sigma)

    parts, peak, chance = _memory(forecast, tensor_bytes)
    per_joule = forecast.flops_per_joule
    return replace(
        forecast,
        evidence=RUNNING,
        assumptions=(note, *forecast.assumptions),
        step_time_s=scaled(forecast.step_time_s),
        epoch_time_s=forecast.epoch_time_s and scaled(forecast.epoch_time_s),
        total_s=forecast.total_s and scaled(forecast.total_s),
        stages_s={stage: scaled(seconds) for stage, seconds in forecast.stages_s.items()},
        samples_per_s=forecast.samples_per_s / factor,
        step_by_kind=tuple(
            replace(share, seconds=share.seconds * factor) for share in forecast.step_by_kind
        ),
        utilization=forecast.utilization / factor,
        flops_per_joule=per_joule / factor if per_joule else None,
        kernels=tuple(
            replace(
                kernel,
                seconds=kernel.seconds * factor,
                arithmetic_s=kernel.arithmetic_s * factor,
                traffic_s=kernel.traffic_s * factor,
            )
            for kernel in forecast.kernels
        ),
        peak_memory_bytes=peak,
        memory_by_part=parts,
        chance_it_fits=chance,
        largest_batch_size=None if tensor_bytes else forecast.largest_batch_size,
    )


def _memory(
    forecast: DeviceForecast, tensor_bytes: float | None
) -> tuple[Mapping[str, float], Interval, float | None]:
    """Return the memory by part, its peak, and the chance that it fits."""
    parts = forecast.memory_by_part
    if tensor_bytes is None:
        return parts, forecast.peak_memory_bytes, forecast.chance_it_fits
    expected = sum(num_bytes for part, num_bytes in parts.items() if part != "context")
    factor = tensor_bytes / expected
    seen = {part: n if part == "context" else factor * n for part, n in parts.items()}
    peak_bytes, capacity = sum(seen.values()), forecast.capacity_bytes
    chance = chance_it_fits(peak_bytes, capacity, MEMORY_SIGMA) if capacity else None
    return seen, Interval.lognormal(peak_bytes, MEMORY_SIGMA), chance
