"""What a training job takes on a device of the catalogue, as intervals, with what they stand on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from traintime.forecast.kind_share import KindShare
from traintime.units import Interval

FITS_FROM = 0.5
"""Chance of fitting from which a device is listed among those that can do the job."""


@dataclass(frozen=True)
class KernelShare:
    """The arithmetic of one of the most expensive kernels of a step.

    Args:
        name: What torch calls it, and in which module it first stands.
        kind: As `KindShare.kind`.
        phase: "forward" or "backward".
        count: How many alike a step has.
        seconds: All of them together.
        share: Of the step.
        flops: All together.
        num_bytes: All together.
        arithmetic_s: What the FLOP alone would take at the rate this kernel reaches.
        traffic_s: What the bytes alone would take at the bandwidth this kernel reaches.
        sides: Of a product: (batch, rows, columns, inner), else ().
    """

    name: str
    kind: str
    phase: str
    count: int
    seconds: float
    share: float
    flops: float
    num_bytes: float
    arithmetic_s: float
    traffic_s: float
    sides: tuple[float, ...]


@dataclass(frozen=True)
class DeviceForecast:
    """What a job will take on one kind of device, or several of it.

    Args:
        model: As it was asked for.
        model_source: Where its operations were captured from.
        device: Key in the catalogue.
        device_name: As its vendor calls it.
        num_devices: That share each batch (data parallel).
        precision: "fp32", "tf32", "amp" or "half".
        batch_size: Samples of a step, over all devices.
        input_shape: Of one sample.
        parameters: Learned values.
        evidence: What the times stand on.
        assumptions: What has to hold, for people.
        step_time_s: Of one step with its update.
        epoch_time_s: Training alone; None if nobody said how many samples there are.
        total_s: All epochs with their validation; None likewise.
        stages_s: The same by stage: train, validate; empty likewise.
        samples_per_s: In training, median.
        step_by_kind: Where a step goes, the largest part first.
        limited_by: "arithmetic", "memory traffic", "dispatch" or "communication".
        utilization: Share of the peak that the step's products reach.
        flops_per_step: In products, forward and backward.
        peak_memory_bytes: On one device.
        memory_by_part: weights, gradients, optimizer, activations, workspace, context.
        capacity_bytes: Memory of one device; None if it shares the machine's.
        chance_it_fits: Probability that the peak is below the capacity; None without one.
        largest_batch_size: The largest over all devices that fits at nine chances in ten; 0 if not
            even one sample does, None without a capacity.
        flops_per_joule: Products' FLOP per joule at the rated power; None if that is not known.
        steps_per_epoch: Optimizer steps; 0 if nobody said how many samples there are.
        epochs: Passes.
        kernels: The most expensive, at most ten; none where all devices are listed.
        sharding: What the devices divide among them: "none", "optimizer" or "full".
        recompute: Whether blocks compute their forward again.
    """

    model: str
    model_source: str
    device: str
    device_name: str
    num_devices: int
    precision: str
    batch_size: int
    input_shape: tuple[int, ...]
    parameters: int
    evidence: str
    assumptions: tuple[str, ...]
    step_time_s: Interval
    epoch_time_s: Interval | None
    total_s: Interval | None
    stages_s: Mapping[str, Interval]
    samples_per_s: float
    step_by_kind: tuple[KindShare, ...]
    limited_by: str
    utilization: float
    flops_per_step: float
    peak_memory_bytes: Interval
    memory_by_part: Mapping[str, float]
    capacity_bytes: float | None
    chance_it_fits: float | None
    largest_batch_size: int | None
    flops_per_joule: float | None
    steps_per_epoch: int
    epochs: int
    kernels: tuple[KernelShare, ...]
    sharding: str = "none"
    recompute: bool = False

    @property
    def fits(self) -> bool:
        """Whether it is more likely than not that the job fits; so where nothing limits it."""
        return self.chance_it_fits is None or self.chance_it_fits >= FITS_FROM

    @property
    def longest_s(self) -> Interval:
        """The time of all that is known of the job: to its end, or that of a step."""
        return self.total_s or self.step_time_s

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: _plain(value) for name, value in vars(self).items()}


def _plain(value: Any) -> Any:
    """Return what JSON takes; several times faster than `dataclasses.asdict`, a deep copy."""
    if isinstance(value, tuple):
        return tuple(map(_plain, cast("tuple[Any, ...]", value)))
    if isinstance(value, Mapping):
        parts = cast("Mapping[str, Any]", value)
        return {key: _plain(part) for key, part in parts.items()}
    return dict(vars(value)) if dataclasses.is_dataclass(value) else value
