"""One optimizer step of a job: micro-batches, update, and the exchange of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from traintime.forecast.asked_job import DeviceJob, Fit, SizedGraph, uses_channels_last
from traintime.forecast.data_parallel import (
    Exchange,
    deviations_of_slowest,
    exchange_parameters,
    with_spread,
)
from traintime.forecast.device_forecast import KernelShare
from traintime.forecast.device_step import (
    DevicePrecision,
    DeviceStep,
    KernelTime,
    Mode,
    Phases,
    SizedKernel,
    predict_device_step,
    rates,
)
from traintime.forecast.kernel_time import kernel_seconds
from traintime.forecast.kind_share import KindShare
from traintime.forecast.processor_parameters import ProcessorParameters
from traintime.forecast.processor_step import ProcessorKernel, predict_processor_step
from traintime.forecast.recomputed import recomputed_kernels
from traintime.forecast.sharded import Work, step_exchange_s
from traintime.hardware.devices import ACCELERATORS, DeviceCount, DeviceSpec
from traintime.units import Interval

SHOWN_KERNELS = 10


@dataclass(frozen=True)
class JobStep:
    """One optimizer step on each of the devices.

    Args:
        one: A micro-batch with the update.
        kernels: Of the micro-batch, in the order of its times.
        micro_batches: Of the step.
        num_devices: That share the batch.
        seconds: Of all.
        exchange_s: What of it is spent on nothing but what devices send each other.
        straggling_s: What of it a device waits for slower ones.
        forward_s: A forward alone, as in validation.
        channels_last: Whether images are stored so.
        recomputed: Kernels of one micro-batch's forward that run again in its backward.
    """

    one: DeviceStep
    kernels: Sequence[SizedKernel | ProcessorKernel]
    micro_batches: int
    num_devices: int
    seconds: float
    exchange_s: Interval
    straggling_s: float
    forward_s: float
    channels_last: bool
    recomputed: tuple[KernelTime, ...] = ()

    @property
    def flops(self) -> float:
        """Of all products on one device, without what is computed again."""
        return self.micro_batches * self.one.flops

    @property
    def waiting_s(self) -> float:
        """What the device waits for the host."""
        working_s = self.micro_batches * (self.one.device_s - self.one.update_s) + self.one.update_s
        return max(0.0, self.seconds - self.communication_s - working_s - self.recompute_s)

    @property
    def recompute_s(self) -> float:
        """What the device takes of it to compute forwards again."""
        return self.micro_batches * sum(time.seconds for time in self.recomputed)

    @property
    def communication_s(self) -> float:
        """What several devices cost: the exchange, and waiting for the slowest."""
        return self.exchange_s.median + self.straggling_s

    def interval(self, sigma: float, exchange: Exchange) -> Interval:
        """Return the step's interval; of several devices wider, the more so the more they exchange.

        Args:
            sigma: Of the logarithm of a step's time on one device.
            exchange: Of the fit to several devices.
        """
        seconds = self.exchange_s.shifted(self.seconds - self.exchange_s.median)
        beside = exchange.jitter_spread * deviations_of_slowest(self.num_devices)
        return with_spread(seconds, math.hypot(sigma, beside))

    def by_kind(self) -> tuple[KindShare, ...]:
        """Return where the step goes, the largest part first."""
        totals = {"optimizer": self.one.update_s}
        for time in self.one.kernels:
            kind = time.kernel.kind
            totals[kind] = totals.get(kind, 0.0) + self.micro_batches * time.seconds
        totals |= {
            "computing again": self.recompute_s,
            "waiting for dispatch": self.waiting_s,
            "communication": self.communication_s,
        }
        return tuple(
            KindShare(kind, seconds, seconds / self.seconds)
            for kind, seconds in sorted(totals.items(), key=lambda item: -item[1])
            if seconds > 0
        )

    def limited_by(self) -> str:
        """Return what takes most of the step; a kernel counts for the longer of its two parts."""
        kernels = (*self.one.kernels, *self.recomputed)
        arithmetic_s = sum(time.seconds for time in kernels if time.arithmetic_s >= time.traffic_s)
        kernels_s = sum(time.seconds for time in kernels)
        limits = {
            "arithmetic": self.micro_batches * arithmetic_s,
            "memory traffic": self.micro_batches * (kernels_s - arithmetic_s) + self.one.update_s,
            "dispatch": self.waiting_s,
            "communication": self.communication_s,
        }
        return max(limits, key=lambda limit: limits[limit])

    def most_expensive(self) -> tuple[KernelShare, ...]:
        """Return the kernels that take most of the step."""
        seconds = [time.seconds for time in self.one.kernels]
        largest = sorted(range(len(seconds)), key=seconds.__getitem__, reverse=True)
        times = self.micro_batches
        return tuple(
            KernelShare(
                name=f"{time.kernel.op} in {time.kernel.where}"
                if time.kernel.where
                else time.kernel.op,
                kind=time.kernel.kind,
                phase=time.kernel.phase,
                count=times * time.kernel.count,
                seconds=times * time.seconds,
                share=times * time.seconds / self.seconds,
                flops=times * time.flops,
                num_bytes=times * time.num_bytes,
                arithmetic_s=times * time.arithmetic_s,
                traffic_s=times * time.traffic_s,
                sides=sized.sides if time.kernel.sides else (),
            )
            for time, sized in (
                (self.one.kernels[place], self.kernels[place]) for place in largest[:SHOWN_KERNELS]
            )
        )


def predict_job_step(
    job: DeviceJob,
    sized: SizedGraph,
    device: DeviceCount,
    precision: DevicePrecision,
    parameters: Fit,
    exchange: Exchange | None = None,
) -> JobStep:
    """Return a step of a job on a device, or on several that share each batch.

    Args:
        job: What is asked.
        sized: Its kernels at the device's micro-batch.
        device: How many of what.
        precision: To compute in.
        parameters: Of the fit.
        exchange: Of the fit to several devices; as shipped if None.

    Raises:
        InputError: Too little is known of the device, or of what ties several together.
    """
    channels_last = uses_channels_last(job.memory_format, device.spec, precision, job.sample)
    updated = _with_own_part(job, sized, device)
    predict = _predictor(
        job, updated, device.spec, precision, parameters, channels_last=channels_last
    )
    last = predict("train", True)
    again = recomputed_kernels(sized.graph, last.kernels) if job.recompute else ()
    again_s = sum(time.seconds for time in again)
    forward_s = sum(time.seconds for time in last.kernels if time.kernel.phase == "forward")
    backward_s = last.device_s - last.update_s - forward_s + again_s
    forward_dispatch_s = predict("forward", False).dispatch_s

    def joined(device_s: float, dispatch_s: float) -> float:
        """Join kernels with what the host needs to dispatch them; again a whole forward's."""
        more_s = forward_dispatch_s if again else 0.0
        return kernel_seconds(device_s, dispatch_s + more_s, parameters.dispatch_overlap)

    before_s = joined(forward_s + backward_s, predict("gradients", False).dispatch_s)
    last_s = joined(last.device_s + again_s, last.dispatch_s) if again else last.seconds
    exchange = exchange or exchange_parameters()
    work = Work(forward_s, backward_s, job.accumulate)
    exchange_s = step_exchange_s(job.sharding, sized.graph, precision, device, work, exchange)
    alone_s = (job.accumulate - 1) * before_s + last_s
    straggling_s = alone_s * exchange.jitter * deviations_of_slowest(device.count)
    return JobStep(
        one=last,
        kernels=sized.kernels,
        micro_batches=job.accumulate,
        num_devices=device.count,
        seconds=alone_s + straggling_s + exchange_s.median,
        exchange_s=exchange_s,
        straggling_s=straggling_s,
        forward_s=kernel_seconds(forward_s, forward_dispatch_s, parameters.dispatch_overlap),
        channels_last=channels_last,
        recomputed=again,
    )


def _with_own_part(job: DeviceJob, sized: SizedGraph, device: DeviceCount) -> SizedGraph:
    """Return a graph with the parameters that each device updates."""
    if job.sharding == "none" or device.count == 1:
        return sized
    own = math.ceil(sized.graph.parameters / device.count)
    return replace(sized, graph=replace(sized.graph, parameters=own))


def _predictor(
    job: DeviceJob,
    sized: SizedGraph,
    spec: DeviceSpec,
    precision: DevicePrecision,
    parameters: Fit,
    *,
    channels_last: bool,
) -> Callable[[Phases, bool], DeviceStep]:
    """Return what forecasts a micro-batch: its phases, with its kernels or without."""
    if isinstance(parameters, ProcessorParameters):

        def on_processor(phases: Phases, with_kernels: bool) -> DeviceStep:
            return predict_processor_step(
                sized.graph,
                cast("Sequence[ProcessorKernel]", sized.kernels) if with_kernels else (),
                spec,
                parameters,
                optimizer=job.optimizer,
                phases=phases,
                in_half=precision in ("amp", "half"),
            )

        return on_processor
    sustained = rates(spec, precision, parameters.shares(spec))
    contiguous = len(job.sample.shape) == 3 and not channels_last
    mode: Mode = "compiled" if job.compiled else "eager"
    if spec.kind in ACCELERATORS:  # their frameworks compile a whole step before the first
        mode = "graph"

    def on_device(phases: Phases, with_kernels: bool) -> DeviceStep:
        return predict_device_step(
            sized.graph,
            cast("Sequence[SizedKernel]", sized.kernels) if with_kernels else (),
            sustained,
            parameters,
            optimizer=job.optimizer,
            phases=phases,
            contiguous=contiguous,
            mode=mode,
        )

    return on_device
