"""What a forecast for a device takes for granted, and what would make a job fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from traintime.forecast.asked_job import DeviceJob, SizedGraph, SizedModel
from traintime.forecast.data_parallel import (
    exchange_parameters,
    link_between,
    network_bytes_per_s,
    node_devices,
)
from traintime.forecast.device_memory import SURE_ENOUGH, MemoryUse, Room, chance_it_fits
from traintime.forecast.device_parameters import (
    KNOWN_DEVICE,
    MEASURED_HERE,
    SPECS_ONLY,
    UNKNOWN_ARCHITECTURE,
    WHOLE_TRAININGS,
)
from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.job_step import JobStep
from traintime.hardware.devices import DeviceCount
from traintime.units import format_bytes, format_count, format_percent
from traintime.workload.sample import Sample

EVIDENCE_LINES = {
    SPECS_ONLY: "No step was ever measured on {}: it is taken to use its data sheet's figures as "
    "devices like it do",
    UNKNOWN_ARCHITECTURE: "No step was ever measured on {}, nor on anything like it: it is taken "
    "to use its data sheet's figures as other vendors' devices do",
    WHOLE_TRAININGS: "No step was ever measured on {}: it is taken to be as much faster or slower "
    "than a GPU of its figures as it, or its like, was in whole trainings of ResNet-50, which "
    "experts had tuned",
    KNOWN_DEVICE: "{} reaches what it did in the public measurements that the law was fitted to",
    MEASURED_HERE: "{} sustains what was measured on it",
}
MOST_PARTS = 64
SHOWN_OPERATIONS = 5


def memory_lines(
    job: DeviceJob, model: SizedModel, use: MemoryUse, device: DeviceCount, room: Room
) -> Iterator[str]:
    """Say how much memory is missing and what would make the job fit, if it is likely not to.

    Args:
        job: What is asked.
        model: For its graph in another precision.
        use: Of one device.
        device: How many of what.
        room: What came out.
    """
    if room.chance is None or room.capacity_bytes is None or room.chance >= SURE_ENOUGH:
        return
    missing = room.peak_bytes - room.capacity_bytes
    expected = f"{format_bytes(room.peak_bytes)} are expected on each {device.spec.name}"
    if missing > 0:
        yield (
            f"It does not fit: {expected}, which has {format_bytes(room.capacity_bytes)}; "
            f"{format_bytes(missing)} are missing. {_remedy(job, model, use, device, room)}"
        )
    else:
        yield (
            f"It may not fit: {expected} of {format_bytes(room.capacity_bytes)}, a chance of "
            f"{format_percent(room.chance, 0)}. {_remedy(job, model, use, device, room)}"
        )


def _remedy(
    job: DeviceJob, model: SizedModel, use: MemoryUse, device: DeviceCount, room: Room
) -> str:
    remedies = list(_remedies(job, model, use, device, room))
    if not room.largest_batch_size:
        remedies.insert(0, "Not even one sample at a time fits on it")
        remedies[1:] = [f"what would: {' or '.join(remedies[1:])}"] if remedies[1:] else []
        return "; ".join(remedies)
    return f"It would fit with {', or '.join(remedies)}"


def _remedies(
    job: DeviceJob, model: SizedModel, use: MemoryUse, device: DeviceCount, room: Room
) -> Iterator[str]:
    """Find the least change of each kind with which nine chances in ten are reached."""
    spec, count, parts = device.spec, device.count, job.accumulate

    def fits(changed: MemoryUse, parts: int) -> bool:
        peak = changed.peak(math.ceil(job.batch_size / parts))
        return chance_it_fits(peak, room.capacity_bytes or math.inf, changed.sigma) >= SURE_ENOUGH

    if room.largest_batch_size:
        yield f"batch_size={room.largest_batch_size}"
    more = [2**power for power in range(1, MOST_PARTS.bit_length())]
    whole = replace(use, accumulates=True)
    splits = (job.accumulate * times for times in more)
    split = next((k for k in splits if k * count <= job.batch_size and fits(whole, k * count)), 0)
    if split:
        yield f"accumulate={split}"
    if use.precision != "half" and spec.half_flops:
        graph = model("half", math.ceil(job.batch_size / (parts * count))).graph
        if fits(replace(use, precision="half", graph=graph), parts * count):
            yield "precision=half"
    counts = (count * times for times in more)
    several = next(
        (
            n
            for n in counts
            if n * parts <= job.batch_size and fits(replace(use, num_devices=n), n * parts)
        ),
        0,
    )
    if several and spec.interconnect_bytes_per_s:
        yield f"device={spec.key}x{several}"


def job_lines(
    job: DeviceJob,
    sized: SizedGraph,
    step: JobStep,
    device: DeviceCount,
    precision: DevicePrecision,
    evidence: str,
) -> Iterator[str]:
    """Say what has to hold beside the fitting into memory."""
    yield from job.notes
    yield EVIDENCE_LINES.get(evidence, f"{{}}: {evidence}").format(device.spec.name)
    yield _choices(job, step, precision)
    yield _input_line(job, step, device)
    yield "The device does nothing else, and keeps its usual clock and power with current drivers"
    yield from _graph_lines(job, sized)
    if device.count > 1:
        yield from _exchange_lines(step, device)
    if job.compiled:
        yield "Compiling itself is not counted, nor what fusing operations saves"


def _choices(job: DeviceJob, step: JobStep, precision: DevicePrecision) -> str:
    layout = "channels_last" if step.channels_last else "contiguous"
    of_images = len(job.sample.shape) == 3
    by_itself = job.precision == "auto" or (of_images and job.memory_format == "auto")
    images = f", images {layout}" if of_images else ""
    return f"Computed in {precision}{images}{', as auto has it' if by_itself else ''}"


def _input_line(job: DeviceJob, step: JobStep, device: DeviceCount) -> str:
    samples_per_s = job.batch_size / step.seconds
    values = math.prod(job.sample.shape)
    if job.sample.tokens:
        amount = f"{format_count(samples_per_s * values)} tokens/s"
    else:
        amount = f"{samples_per_s * values / 1e6:,.0f} MB/s decoded, at a byte a value"
    with_all = f" with all {device.count:,} devices" if device.count > 1 else ""
    return (
        f"The input pipeline keeps up{with_all}: {format_count(samples_per_s)} samples/s, "
        f"{amount}, from data that has been fetched before"
    )


def _graph_lines(job: DeviceJob, sized: SizedGraph) -> Iterator[str]:
    graph = sized.graph
    yield f"Operations of {graph.model} captured from {graph.source}"
    if sized.size != 1.0:
        captured = Sample(graph.input_shape, tokens=job.sample.tokens)
        yield f"Operations were captured around input {captured} and scaled to {job.sample}"
    if graph.unknown:
        named = ", ".join(graph.unknown[:SHOWN_OPERATIONS])
        others = len(graph.unknown) - SHOWN_OPERATIONS
        more = f" and {others} others" if others > 0 else ""
        yield f"Of {named}{more} the bytes are counted and the arithmetic is not"


def _exchange_lines(step: JobStep, device: DeviceCount) -> Iterator[str]:
    spec, exchange = device.spec, exchange_parameters()
    link = link_between(device, exchange)
    line = (
        f"Each of {device.count:,} devices computes its part of every batch in a process of its "
        f"own; gradients are summed over {link.name}, where machines sustain "
        f"{link.bytes_per_s / 1e9:.3g} GB/s one way"
    )
    if device.count > node_devices(spec):
        line += (
            f"; between nodes of {node_devices(spec)} over "
            f"{network_bytes_per_s(spec) / 1e9:.3g} GB/s for each device"
        )
    yield line
    exchanged, waited = (
        format_percent(seconds / step.seconds)
        for seconds in (step.exchange_s.median, step.straggling_s)
    )
    yield (
        f"{exchanged} of a step go to what the backward does not hide of the exchange, {waited} to "
        "waiting for the slowest device; the interval allows for machines that do not get what "
        "their links can give"
    )
