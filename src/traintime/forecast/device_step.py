"""Seconds of a training step on a device that nobody here owns, kernel by kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from traintime.errors import InputError
from traintime.forecast.device_parameters import DeviceShares, KernelClass, Parameters
from traintime.forecast.kernel_time import bandwidth_gain, kernel_seconds, share_at_sides
from traintime.hardware.devices import DeviceSpec
from traintime.workload.kernels import PRODUCT_KINDS, Kernel, KernelGraph

DevicePrecision = Literal["fp32", "tf32", "amp", "half"]
Phases = Literal["train", "gradients", "forward"]
ON_VECTOR_UNITS = ("depthwise convolution",)
"""Products that no matrix engine computes."""
FORWARD_CALLS = 0.4
"""Share of a step's dispatched operations that its forward has, taken to be alike in all models."""


@dataclass(frozen=True, slots=True)
class SizedKernel:
    """A kernel at one batch and input size, with the class it belongs to.

    Args:
        kernel: What it is.
        shape_class: How its kind uses a device.
        flops: Of one.
        num_bytes: Read and written by one.
        sides: (batch, rows, columns, inner) of a product.
    """

    kernel: Kernel
    shape_class: KernelClass
    flops: float
    num_bytes: float
    sides: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class KernelTime:
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
        peak_flops: The device's peak for them, in FLOP/s.
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


def class_name(kernel: Kernel) -> str:
    """Return what the fit tells apart: kind, role, and for convolutions what kernels differ by."""
    if kernel.phase == "forward":
        role = "forward"
    else:
        role = "weight" if kernel.op.endswith(".weight") else "backward"
    name = f"{kernel.kind}/{role}"
    if kernel.kind == "grouped convolution":
        return f"{name}/{'narrow' if _group_width(kernel, role) in NARROW else 'wide'}"
    if kernel.kind != "convolution":
        return name
    if kernel.window == kernel.stride:
        return f"{name}/patches"
    return f"{name}/{min(kernel.window, WIDEST_WINDOW)}"


WIDEST_WINDOW = 7
NARROW = (2, 4, 8, 16, 32, 64)
"""Channels of a group that have kernels of their own; others fall back to slower ones in NHWC."""


def _group_width(kernel: Kernel, role: str) -> float:
    assert kernel.sides, "every convolution has sides"
    return (kernel.sides.rows if role == "weight" else kernel.sides.columns).at(1)


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
    sized: list[SizedKernel] = []
    for kernel in graph.kernels:
        if everything_half and not kernel.half:
            kernel = replace(kernel, half=True)
        flops, num_bytes, sides = kernel.at(batch_size, size)
        shape_class = parameters.kernel_class(class_name(kernel))
        sized.append(SizedKernel(kernel, shape_class, flops, num_bytes * scale, sides))
    return sized


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device sustains at best.

    Args:
        matrix_half: FLOP/s of products in 16 bits.
        matrix_full: FLOP/s of products in 32 bits.
        vector: FLOP/s outside the matrix engine.
        bandwidth: Byte/s.
        cores: Streaming multiprocessors.
        peak: FLOP/s by the data sheet for the precision asked for.
    """

    matrix_half: float
    matrix_full: float
    vector: float
    bandwidth: float
    cores: float
    peak: float


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
        cores=float(spec.cores or 64),
        peak=half if precision in ("amp", "half") else full,
    )


def predict_device_step(
    graph: KernelGraph,
    kernels: Sequence[SizedKernel],
    device: Rates,
    parameters: Parameters,
    *,
    optimizer: str = "sgd",
    phases: Phases = "train",
    contiguous: bool = False,
    compiled: bool = False,
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
        compiled: Whether launches are captured in a graph, so that dispatch costs nothing.
    """
    times = [
        _kernel_time(one, device, parameters, contiguous=contiguous)
        for one in kernels
        if phases != "forward" or one.kernel.phase == "forward"
    ]
    update_s = dispatch_s = 0.0
    if phases == "train":
        update_s = parameters.update_bytes[optimizer] * graph.parameters / device.bandwidth
        calls = parameters.update_calls[optimizer] * graph.parameter_tensors
        dispatch_s = parameters.update_call_s * calls
    calls = graph.num_calls * (FORWARD_CALLS if phases == "forward" else 1.0)
    dispatch_s = 0.0 if compiled else dispatch_s + parameters.call_s * calls
    device_s = sum(time.seconds for time in times) + update_s
    seconds = kernel_seconds(device_s, dispatch_s, parameters.dispatch_overlap)
    flops = sum(time.flops for time in times if time.kernel.kind in PRODUCT_KINDS)
    return DeviceStep(seconds, device_s, dispatch_s, update_s, tuple(times), flops, device.peak)


def _kernel_time(
    one: SizedKernel, device: Rates, parameters: Parameters, *, contiguous: bool
) -> KernelTime:
    kernel, shape = one.kernel, one.shape_class
    num_bytes = one.num_bytes
    bandwidth = device.bandwidth * shape.bandwidth_share
    nchw = contiguous and kernel.half
    if contiguous:
        bandwidth *= shape.contiguous_bandwidth_share
    if nchw and "convolution" in kernel.kind:
        num_bytes *= 1.0 + shape.contiguous_traffic
    bandwidth *= bandwidth_gain(num_bytes, parameters.cache_gain, parameters.cache_bytes)
    traffic_s = (num_bytes + shape.bytes_at_start) / bandwidth
    arithmetic_s = 0.0
    if one.flops:
        arithmetic_s = one.flops / _flops_per_s(one, device, contiguous=nchw)
    seconds = parameters.launch_s + kernel_seconds(arithmetic_s, traffic_s, parameters.overlap)
    count = kernel.count
    return KernelTime(
        kernel,
        count * seconds,
        count * arithmetic_s,
        count * traffic_s,
        count * one.flops,
        count * one.num_bytes,
    )


def _flops_per_s(one: SizedKernel, device: Rates, *, contiguous: bool) -> float:
    kernel, shape = one.kernel, one.shape_class
    _, _, columns, inner = one.sides
    share = shape.peak_share if kernel.half else shape.peak_share_fp32
    if kernel.kind in ON_VECTOR_UNITS:
        peak = device.vector
    else:
        peak = device.matrix_half if kernel.half else device.matrix_full
    if kernel.half and (columns % 8 or inner % 8):
        share *= shape.misaligned_share
    if contiguous:
        share *= shape.contiguous_peak_share
    return (
        peak
        * share
        * share_at_sides(
            *one.sides,
            device.cores,
            shape.rows_at_half,
            shape.columns_at_half,
            shape.inner_at_half,
            shape.waves_at_half,
        )
    )
