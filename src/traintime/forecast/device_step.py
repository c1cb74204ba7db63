"""Seconds of a training step on a device that nobody here owns, kernel by kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, NamedTuple

from traintime.errors import InputError
from traintime.forecast.device_parameters import DeviceShares, Parameters
from traintime.forecast.kernel_classes import (
    WINOGRAD_WINDOW,
    by_winograd,
    class_name,
    misalignment,
    slow_in_nhwc,
    splits_inner,
    steps_in_turn,
)
from traintime.forecast.kernel_time import (
    WINOGRAD,
    bandwidth_gain,
    kernel_seconds,
    loading,
    no_faster,
    num_tiles,
    share_of_side,
    stretch,
    widening,
)
from traintime.hardware.devices import ACCELERATORS, DeviceSpec
from traintime.units import MIB
from traintime.workload.kernels import PRODUCT_KINDS, Kernel, KernelGraph

DevicePrecision = Literal["fp32", "tf32", "amp", "half"]
Phases = Literal["train", "gradients", "forward"]
Mode = Literal["eager", "graph", "compiled"]
"""Python dispatches each kernel; all are captured in a graph, so that dispatch costs nothing; or a
compiler joins them before. What an accelerator's compiler joins is in its shares already."""
ON_VECTOR_UNITS = ("depthwise convolution",)
"""Products that no matrix engine computes."""
USUAL_CORES = 64
"""Of a device whose own are not known, or are no such thing."""
USUAL_CACHE_BYTES = 4 * MIB
"""Of a device whose own is not known: that of most devices before 2020."""
FORWARD_CALLS = 0.4
"""Share of a step's dispatched operations that its forward has, taken to be alike in all models."""


class KernelWork(NamedTuple):
    """What of a kernel no device has a part in, in one layout of images.

    Args:
        arithmetic: FLOP over the share of the sustained rate that a full device reaches.
        arithmetic_fp32: The same on a device that has no rate of its own for the number format.
        idle: How much longer that takes for each core; few tiles leave cores idle.
        traffic: Bytes over the share of the sustained bandwidth, were there no cache.
        cacheable: Bytes of it that a cache may hold.
        loading: How long a core of 10¹² FLOP/s loads a tile's values, over its arithmetic.
    """

    arithmetic: float
    arithmetic_fp32: float
    idle: float
    traffic: float
    cacheable: float
    loading: float = 0.0


@dataclass(frozen=True, slots=True)
class SizedKernel:
    """A kernel at one batch and input size.

    Args:
        kernel: What it is.
        flops: Of one.
        num_bytes: Read and written by one.
        sides: (batch, rows, columns, inner) of a product.
        channels_last: Its work on NHWC, and wherever there are no images.
        contiguous: Its work on NCHW.
        launches: Of one, where its products wait for each other.
    """

    kernel: Kernel
    flops: float
    num_bytes: float
    sides: tuple[float, float, float, float]
    channels_last: KernelWork
    contiguous: KernelWork
    launches: float


class KernelTime(NamedTuple):
    """What kernels alike take of a step.

    Args:
        kernel: What they are.
        seconds: All of them together.
        arithmetic_s: Of that, were there no memory traffic.
        traffic_s: Of that, were there no arithmetic.
        flops: All together.
        num_bytes: All together.
    """

    kernel: Kernel
    seconds: float
    arithmetic_s: float
    traffic_s: float
    flops: float
    num_bytes: float


@dataclass(frozen=True)
class DeviceStep:
    """One step on one device.

    Args:
        seconds: Of the whole step.
        device_s: What the device works on it.
        dispatch_s: What the host needs to dispatch it.
        update_s: Of the device's time, the optimizer's.
        kernels: In no order.
        flops: Of all products.
        peak_flops: The device's peak for them by the algorithms that there are, in FLOP/s.
    """

    seconds: float
    device_s: float
    dispatch_s: float
    update_s: float
    kernels: tuple[KernelTime, ...]
    flops: float
    peak_flops: float

    @property
    def utilization(self) -> float:
        """Share of the peak that the step reaches (model FLOP utilization)."""
        return self.flops / (self.peak_flops * self.seconds)

    def by_kind(self) -> Mapping[str, float]:
        """Return seconds of the device by kind of kernel, and what it waits for the host."""
        totals: dict[str, float] = {"optimizer": self.update_s}
        for part in self.kernels:
            kind = part.kernel.kind
            totals[kind] = totals.get(kind, 0.0) + part.seconds
        totals["waiting for dispatch"] = max(0.0, self.seconds - self.device_s)
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def sized_kernels(
    graph: KernelGraph,
    batch_size: float,
    size: float,
    precision: DevicePrecision,
    parameters: Parameters,
) -> list[SizedKernel]:
    """Return a graph's kernels at one size: all of a forecast that no device has a part in.

    Args:
        graph: Captured with "amp" numerics for precision "amp", else with "fp32".
        batch_size: On one device.
        size: u, the input's size relative to the captured one.
        precision: "half" means that weights are kept in 16 bits too.
        parameters: Of the fit.
    """
    everything_half = precision == "half"
    scale = 0.5 if everything_half else 1.0
    has_images = len(graph.input_shape) == 3
    sized: list[SizedKernel] = []
    for kernel in graph.kernels:
        if everything_half and not kernel.half:
            kernel = replace(kernel, half=True)
        flops, num_bytes, sides = kernel.at(batch_size, size)
        num_bytes *= scale
        channels_last, contiguous = (
            _work(kernel, flops, num_bytes, sides, parameters, layout, tf32=precision == "tf32")
            for layout in ("channels last" if has_images else "", "contiguous")
        )
        launches = steps_in_turn(kernel.kind, sides[0])
        sized.append(
            SizedKernel(kernel, flops, num_bytes, sides, channels_last, contiguous, launches)
        )
    return sized


def _work(
    kernel: Kernel,
    flops: float,
    num_bytes: float,
    sides: tuple[float, float, float, float],
    parameters: Parameters,
    layout: str,
    *,
    tf32: bool,
) -> KernelWork:
    shape = parameters.kernel_class(class_name(kernel))
    batch, rows, columns, inner = sides
    in_turn = steps_in_turn(kernel.kind, batch)
    traffic, cacheable = _traffic(kernel, num_bytes, in_turn, parameters, layout)
    if not flops:
        return KernelWork(0.0, 0.0, 0.0, traffic, cacheable)
    as_in_16_bits = kernel.half or (tf32 and kernel.kind not in ON_VECTOR_UNITS)
    share = shape.peak_share if as_in_16_bits else shape.peak_share_fp32
    if kernel.half:
        share *= shape.misaligned_share ** misalignment(kernel, rows, columns, inner)
    if kernel.half and layout == "contiguous":
        share *= shape.contiguous_peak_share
    splits = splits_inner(kernel.kind, contiguous=layout == "contiguous")
    inner_tile = parameters.inner_tile if splits else inf
    flops /= share_of_side(inner, shape.inner_at_half)
    return KernelWork(
        arithmetic=flops / share,
        arithmetic_fp32=flops / (shape.peak_share_fp32 if kernel.half else share),
        idle=shape.waves_at_half / num_tiles(batch / in_turn, rows, columns, inner, inner_tile),
        traffic=traffic,
        cacheable=cacheable,
        loading=loading(
            rows, columns, shape.rows_least, shape.columns_least, 2.0 if kernel.half else 4.0
        ),
    )


def _traffic(
    kernel: Kernel, num_bytes: float, in_turn: float, parameters: Parameters, layout: str
) -> tuple[float, float]:
    """Return bytes over the share of the bandwidth, and bytes; both with what a layout adds."""
    name = class_name(kernel)
    shape = parameters.kernel_class(name)
    bandwidth_share = shape.bandwidth_share
    converted = 0.0
    if layout == "contiguous":
        bandwidth_share *= (
            shape.contiguous_bandwidth_share
            if kernel.half
            else shape.contiguous_bandwidth_share_fp32
        )
        converted = shape.contiguous_traffic * (kernel.half and "convolution" in kernel.kind)
    elif layout == "channels last":
        converted = shape.channels_last_traffic * slow_in_nhwc(name, half=kernel.half)
    num_bytes *= 1.0 + converted
    return (num_bytes + in_turn * shape.bytes_at_start) / bandwidth_share, num_bytes


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device sustains by its shares, and what its data sheet promises.

    Args:
        matrix_half: FLOP/s of products in 16 bits.
        matrix_full: FLOP/s of products in 32 bits.
        vector: FLOP/s outside the matrix engine.
        bandwidth: Byte/s.
        peak_half: FLOP/s of products in 16 bits by the data sheet.
        peak_full: FLOP/s of products in 32 bits by the data sheet.
        peak_vector: FLOP/s outside the matrix engine by the data sheet.
        peak_bandwidth: Byte/s by the data sheet, of kernels that are launched one by one.
        cache_bytes: Of the cache that all cores share.
        cores: Streaming multiprocessors.
        peak: FLOP/s by the data sheet for the precision asked for.
        tiled: Whether products are cut into tiles that cores share, as GPUs do it.
        rounds: Whether products in 32 bits are rounded to TF32.
        has_half: Whether 16 bits have a rate of their own; else their products are computed in
            fp32, by its algorithms.
    """

    matrix_half: float
    matrix_full: float
    vector: float
    bandwidth: float
    peak_half: float
    peak_full: float
    peak_vector: float
    peak_bandwidth: float
    cache_bytes: float
    cores: float
    peak: float
    tiled: bool
    rounds: bool
    has_half: bool

    def in_fp32(self, kernel: Kernel) -> bool:
        """Say whether a product is computed in full fp32."""
        return not self.has_half if kernel.half else not self.rounds


def rates(spec: DeviceSpec, precision: DevicePrecision, shares: DeviceShares) -> Rates:
    """Return what a device sustains in a precision.

    Raises:
        InputError: Its data sheet does not say enough.
    """
    bandwidth, fp32 = spec.bandwidth, spec.fp32_flops or spec.half_flops
    if not bandwidth or not fp32:
        raise InputError(
            f"Too little is known of {spec.name} for a forecast: its "
            f"{'arithmetic peak' if bandwidth else 'memory bandwidth'} was never published. "
            "`traintime hardware list` shows what is known of each; type another device"
        )
    half = spec.half_flops or fp32
    plain = spec.fp32_matrix_flops or fp32
    tf32 = spec.tf32_flops or plain
    full, full_share = (tf32, shares.tf32) if precision == "tf32" else (plain, shares.full)
    return Rates(
        matrix_half=half * shares.half,
        matrix_full=full * full_share,
        vector=fp32 * shares.vector,
        bandwidth=bandwidth * shares.bandwidth,
        peak_half=half,
        peak_full=full,
        peak_vector=fp32,
        # A compiler that sees the whole step joins kernels: less is moved than kernels alone move.
        peak_bandwidth=inf if spec.kind in ACCELERATORS else bandwidth,
        cache_bytes=spec.cache_bytes or USUAL_CACHE_BYTES,
        cores=tile_cores(spec),
        peak=half if precision in ("amp", "half") else full,
        tiled=spec.kind not in ACCELERATORS,
        rounds=precision == "tf32",
        has_half=spec.half_flops is not None,
    )


def tile_cores(spec: DeviceSpec) -> float:
    """Return how many cores share the tiles of a product; usual ones where that is not known."""
    known = None if spec.kind in ACCELERATORS else spec.cores
    return float(known or USUAL_CORES)


def predict_device_step(
    graph: KernelGraph,
    kernels: Sequence[SizedKernel],
    device: Rates,
    parameters: Parameters,
    *,
    optimizer: str = "sgd",
    phases: Phases = "train",
    contiguous: bool = False,
    mode: Mode = "eager",
) -> DeviceStep:
    """Return the time of a step on a device.

    Args:
        graph: What is computed.
        kernels: Its kernels at the size asked for.
        device: What the device sustains.
        parameters: Of the fit.
        optimizer: Name, for the traffic of its update.
        phases: "train", "gradients" (no update) or "forward".
        contiguous: Whether images are NCHW.
        mode: How launches come about.
    """
    times = [
        _kernel_time(one, device, parameters, contiguous=contiguous, compiled=mode == "compiled")
        for one in kernels
        if phases != "forward" or one.kernel.phase == "forward"
    ]
    update_s = dispatch_s = 0.0
    if phases == "train":
        update_s = parameters.update_bytes[optimizer] * graph.parameters / device.bandwidth
        calls = parameters.update_calls[optimizer] * graph.parameter_tensors
        dispatch_s = parameters.update_call_s * calls
    calls = graph.num_calls * (FORWARD_CALLS if phases == "forward" else 1.0)
    dispatch_s = 0.0 if mode != "eager" else dispatch_s + parameters.call_s * calls
    device_s = sum(time.seconds for time in times) + update_s
    seconds = kernel_seconds(device_s, dispatch_s, parameters.dispatch_overlap)
    products = [time for time in times if time.kernel.kind in PRODUCT_KINDS]
    flops = sum(time.flops for time in products)
    peak = _peak(flops, products, device)
    return DeviceStep(seconds, device_s, dispatch_s, update_s, tuple(times), flops, peak)


def _peak(flops: float, products: Sequence[KernelTime], device: Rates) -> float:
    """Return the peak of products together, each by the algorithm that takes fewest operations."""
    computed = sum(
        time.flops / (WINOGRAD if _by_winograd(time.kernel, device) else 1.0) for time in products
    )
    return device.peak * flops / computed if computed else device.peak


def _by_winograd(kernel: Kernel, device: Rates) -> bool:
    # A name takes long to make, and few kernels are such convolutions.
    may_be = kernel.kind == "convolution" and kernel.window == WINOGRAD_WINDOW
    return may_be and device.in_fp32(kernel) and by_winograd(class_name(kernel))


def _kernel_time(
    one: SizedKernel, device: Rates, parameters: Parameters, *, contiguous: bool, compiled: bool
) -> KernelTime:
    kernel = one.kernel
    count = kernel.count * (kernel.share_left if compiled else 1.0)
    work = one.contiguous if contiguous else one.channels_last
    gain = bandwidth_gain(work.cacheable, parameters.cache_gain, device.cache_bytes)
    traffic_s = work.traffic / (device.bandwidth * gain)
    least_s = work.cacheable / (device.peak_bandwidth * gain)
    if least_s > NEAR_PEAK * traffic_s:
        traffic_s = no_faster(traffic_s, least_s, parameters.bend)
    arithmetic_s, seconds = 0.0, traffic_s
    if work.arithmetic:
        arithmetic_s = _arithmetic_s(one, work, device, parameters)
        seconds = kernel_seconds(arithmetic_s, traffic_s, parameters.overlap)
    return KernelTime(
        kernel,
        count * (one.launches * parameters.launch_s + seconds),
        count * arithmetic_s,
        count * traffic_s,
        count * one.flops,
        count * one.num_bytes,
    )


def _arithmetic_s(
    one: SizedKernel, work: KernelWork, device: Rates, parameters: Parameters
) -> float:
    kernel = one.kernel
    sustained, peak = _rates_of(kernel, device)
    least_s = one.flops / (peak * (WINOGRAD if _by_winograd(kernel, device) else 1.0))
    as_fp32 = kernel.half and device.in_fp32(kernel)
    seconds = (work.arithmetic_fp32 if as_fp32 else work.arithmetic) / sustained
    if device.tiled:
        wide = widening(sustained / device.cores, parameters.tile_growth)
        longer = stretch(wide * work.loading, parameters.tile_overlap)
        seconds *= longer * (1.0 + work.idle * device.cores)
    if least_s > NEAR_PEAK * seconds:
        seconds = no_faster(seconds, least_s, parameters.bend)
    return seconds


NEAR_PEAK = 0.25
"""Of the least time over a time, below which they do not touch: 1e-6 of it at the bend of 8."""


def _rates_of(kernel: Kernel, device: Rates) -> tuple[float, float]:
    """Return what computes a kernel: FLOP/s that it sustains, and by the data sheet."""
    if kernel.kind in ON_VECTOR_UNITS:
        return device.vector, device.peak_vector
    if kernel.half:
        return device.matrix_half, device.peak_half
    return device.matrix_full, device.peak_full
