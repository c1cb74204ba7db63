"""What a forecast for a device takes for granted, and what would make a job fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from traintime.forecast.asked_job import DeviceJob, SizedGraph, SizedModel
from traintime.forecast.data_parallel import (
    exchange_parameters,
    link_between,
    network_bytes_per_s,
    node_devices,
)
from traintime.forecast.device_memory import SURE_ENOUGH, MemoryUse, Room
from traintime.forecast.device_parameters import (
    KNOWN_DEVICE,
    MEASURED_HERE,
    SPECS_ONLY,
    UNKNOWN_ARCHITECTURE,
    WHOLE_TRAININGS,
)
from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.job_step import JobStep
from traintime.forecast.recomputed import blocks_of
from traintime.forecast.remedies import remedies
from traintime.forecast.sharded import computed_in, value_bytes
from traintime.hardware.devices import ACCELERATORS, DeviceCount
from traintime.recipe.question import Sharding
from traintime.units import format_bytes, format_count, format_percent
from traintime.workload.kernels import Blocks
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
SHOWN_OPERATIONS = 5
LARGE_MODEL = 5e9
"""Parameters from which people divide layers over devices too."""
SENT: Mapping[Sharding, str] = {
    "none": "gradients are summed",
    "optimizer": "gradients are summed where a part of the weights is updated, and new weights are "
    "gathered,",
    "full": "weights are gathered in {bits:.0f} bits, block by block, in the forward and in the "
    "backward of each micro-batch, and gradients are summed so too,",
}


COMPILED = (
    "Compiled, the loss too: what lies between products is joined where no product parts it. "
    "Compiling itself is not counted, nor the memory that joining saves"
)
COMPILED_ON_CPU = (
    "Compiled: on a processor that makes steps as often longer as shorter, so they are as they "
    "were, and less sure. Compiling itself is not counted"
)


def memory_lines(
    job: DeviceJob,
    model: SizedModel,
    use: MemoryUse,
    device: DeviceCount,
    room: Room,
    *,
    tries_remedies: bool = True,
) -> Iterator[str]:
    """Say how much memory is missing and what would make the job fit, if it is likely not to.

    Args:
        job: What is asked.
        model: For its graph in another precision.
        use: Of one device.
        device: How many of what.
        room: What came out.
        tries_remedies: Whether to say what would.
    """
    if room.chance is None or room.capacity_bytes is None or room.chance >= SURE_ENOUGH:
        return
    missing = room.peak_bytes - room.capacity_bytes
    remedy = (
        _remedy(job, model, use, device, room)
        if tries_remedies
        else f"What would make it fit, device={device} alone says"
    )
    expected = f"{format_bytes(room.peak_bytes)} are expected on each {device.spec.name}"
    if missing > 0:
        yield (
            f"It does not fit: {expected}, which has {format_bytes(room.capacity_bytes)}; "
            f"{format_bytes(missing)} are missing. {remedy}"
        )
    else:
        yield (
            f"It may not fit: {expected} of {format_bytes(room.capacity_bytes)}, a chance of "
            f"{format_percent(room.chance, 0)}. {remedy}"
        )


def _remedy(
    job: DeviceJob, model: SizedModel, use: MemoryUse, device: DeviceCount, room: Room
) -> str:
    found = remedies(job, model, use, device, room)
    if not found:
        alone = use.peak(0) <= (room.capacity_bytes or math.inf) < use.peak(1)
        what = "one sample is too large" if alone else "the model is too large for so few of them"
        return f"No change that was tried makes it fit: {what}"
    would = f"It would fit with {', or '.join(found)}"
    least = "Not even one sample at a time fits with nine chances in ten. "
    return would if room.largest_batch_size else least + would


MUON = (
    "Of optimizer=muon the memory traffic is counted, not its products of matrices: a step takes "
    "longer, the more so the smaller the batch"
)


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
    if step.recomputed:
        yield _recompute_line(step, blocks_of(sized.graph))
    if device.count > 1:
        yield from _exchange_lines(job.sharding, step, device, precision)
    elif job.sharding != "none":
        yield f"sharding={job.sharding} changes nothing on one device"
    if device.count > 1 and sized.graph.parameters >= LARGE_MODEL:
        yield (
            "Each device computes whole samples with every layer: dividing layers or their "
            "products over devices (pipeline, tensor or expert parallelism) is not forecast"
        )
    if job.optimizer == "muon":
        yield MUON
    if job.compiled and device.spec.kind not in ACCELERATORS:
        yield COMPILED_ON_CPU if device.spec.kind == "cpu" else COMPILED


def _choices(job: DeviceJob, step: JobStep, precision: DevicePrecision) -> str:
    layout = "channels_last" if step.channels_last else "contiguous"
    of_images = len(job.sample.shape) == 3
    images = f", images {layout}" if of_images else ""
    choices = {"precision": job.precision}
    if of_images:
        choices["memory_format"] = job.memory_format
    by_itself = [name for name, asked in choices.items() if asked == "auto"]
    alone = f"{by_itself[0]}=" if 0 < len(by_itself) < len(choices) else ""
    chosen = f", as {alone}auto has it" if by_itself else ""
    return f"Computed in {precision}{images}{chosen}"


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


def _recompute_line(step: JobStep, blocks: Blocks) -> str:
    share = format_percent(step.recompute_s / step.seconds)
    return (
        f"Each of {blocks.count} blocks in {' and '.join(blocks.paths)} keeps its input alone and "
        f"computes its forward again before its backward, {share} of a step"
    )


def _exchange_lines(
    sharding: Sharding, step: JobStep, device: DeviceCount, precision: DevicePrecision
) -> Iterator[str]:
    spec, exchange = device.spec, exchange_parameters()
    link = link_between(device, exchange)
    sent = SENT[sharding].format(bits=8 * value_bytes(precision))
    line = (
        f"Each of {device.count:,} devices computes its part of every batch in a process of its "
        f"own; {sent} over {link.name}, where machines sustain "
        f"{link.bytes_per_s / 1e9:.3g} GB/s one way"
    )
    if device.count > node_devices(spec):
        line += (
            f"; between nodes of {node_devices(spec)} over "
            f"{network_bytes_per_s(spec) / 1e9:.3g} GB/s for each device"
        )
    yield line
    if computed_in(precision, sharding, device.count) != precision:
        yield (
            "What is gathered is computed in 16 bits throughout, as FSDP's MixedPrecision casts "
            "it; the parts that devices keep stay in 32"
        )
    exchanged, waited = (
        format_percent(seconds / step.seconds)
        for seconds in (step.exchange_s.median, step.straggling_s)
    )
    hidden_by = "computing" if sharding == "full" else "the backward"
    yield (
        f"{exchanged} of a step go to what {hidden_by} does not hide of the exchange, {waited} to "
        "waiting for the slowest device; the interval allows for machines that do not get what "
        "their links can give"
    )
