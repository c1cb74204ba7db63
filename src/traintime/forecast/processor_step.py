"""Seconds of a training step on a processor, kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from traintime.errors import InputError
from traintime.forecast.device_step import (
    FORWARD_CALLS,
    DevicePrecision,
    DeviceStep,
    KernelTime,
    Phases,
)
from traintime.forecast.processor_law import (
    image_side,
    joined,
    kernel_parts,
    padded_side,
    padding,
    shared_part,
    start_seconds,
)
from traintime.forecast.processor_parameters import ProcessorClass, ProcessorParameters
from traintime.hardware.devices import DeviceSpec
from traintime.hardware.processor import ProcessorRates
from traintime.workload.kernels import PRODUCT_KINDS, Kernel, KernelGraph


@dataclass(frozen=True, slots=True)
class ProcessorKernel:
    """A kernel at one batch and input size, with the class it belongs to.

    Args:
        kernel: What it is.
        flops: Of one.
        num_bytes: Read and written by one.
        sides: (batch, rows, columns, inner) of a product.
        of_class: How its kind uses a processor.
        image_side: Of a convolution; see `processor_law.image_side`.
    """

    kernel: Kernel
    flops: float
    num_bytes: float
    sides: tuple[float, float, float, float]
    of_class: ProcessorClass
    image_side: float


def sized_for_processor(
    graph: KernelGraph,
    batch_size: float,
    size: float,
    precision: DevicePrecision,
    parameters: ProcessorParameters,
) -> list[ProcessorKernel]:
    """Return a graph's kernels at one size.

    Args:
        graph: Captured with "amp" numerics for precision "amp", else with "fp32".
        batch_size: Samples at once.
        size: u, the input's size relative to the captured one.
        precision: "half" means that weights are kept in 16 bits too.
        parameters: Of the fit.
    """
    everything_half = precision == "half"
    found: list[ProcessorKernel] = []
    for kernel in graph.kernels:
        if everything_half and not kernel.half:
            kernel = replace(kernel, half=True)
        flops, num_bytes, sides = kernel.at(batch_size, size)
        num_bytes *= 0.5 if everything_half else 1.0
        of_class = parameters.kernel_class(kernel)
        side = image_side(kernel, size)
        found.append(ProcessorKernel(kernel, flops, num_bytes, sides, of_class, side))
    return found


def predict_processor_step(
    graph: KernelGraph,
    kernels: Sequence[ProcessorKernel],
    spec: DeviceSpec,
    parameters: ProcessorParameters,
    *,
    optimizer: str = "sgd",
    phases: Phases = "train",
    in_half: bool = False,
) -> DeviceStep:
    """Return the time of a step on a processor.

    Args:
        graph: What is computed.
        kernels: Its kernels at the size asked for.
        spec: The processor.
        parameters: Of the fit.
        optimizer: Name, for its update.
        phases: "train", "gradients" (no update) or "forward".
        in_half: Whether products are in 16 bits: for the peak that utilization is told of.

    Raises:
        InputError: The processor's data sheet does not say enough.
    """
    rates = parameters.rates(spec)
    if rates is None:
        raise InputError(
            f"Too little is known of {spec.name} for a forecast: its arithmetic peak or its memory "
            "bandwidth was never published. `traintime hardware list` shows what is known of each; "
            "type another device"
        )
    times = [
        _kernel_time(one, rates, parameters)
        for one in kernels
        if phases != "forward" or one.kernel.phase == "forward"
    ]
    update_s = 0.0
    if phases == "train":
        update_s = parameters.update_bytes[optimizer] * graph.parameters / rates.memory_bandwidth
        calls = parameters.update_calls[optimizer] * graph.parameter_tensors
        update_s += calls * rates.call_s
    calls = graph.num_calls * (FORWARD_CALLS if phases == "forward" else 1.0)
    dispatch_s = parameters.dispatch_calls * calls * rates.call_s
    device_s = sum(time.seconds for time in times) + update_s
    flops = sum(time.flops for time in times if time.kernel.kind in PRODUCT_KINDS)
    peak = rates.half_product_flops if in_half else rates.product_flops
    # One after the other: the processor dispatches what it then computes.
    seconds = device_s + dispatch_s
    return DeviceStep(seconds, device_s, dispatch_s, update_s, tuple(times), flops, peak)


def _kernel_time(
    one: ProcessorKernel, rates: ProcessorRates, parameters: ProcessorParameters
) -> KernelTime:
    kernel, of_class = one.kernel, one.of_class
    is_product = kernel.kind in PRODUCT_KINDS
    values = one.num_bytes / (2.0 if kernel.half else 4.0)
    arithmetic_s, traffic_s = kernel_parts(
        one.flops if is_product else 0.0,
        one.num_bytes,
        0.0 if is_product else values,
        one.sides[1:],
        padding(padded_side(kernel, one.sides)) if "convolution" in kernel.kind else 1.0,
        one.image_side,
        1.0 if is_product else shared_part(values, of_class.grain_values),
        rates.half_product_flops if kernel.half else rates.product_flops,
        rates.product_flops,
        rates.memory_bandwidth,
        rates.cache_bandwidth,
        of_class,
        parameters.cache_bytes,
        parameters.one_core,
    )
    seconds = joined(arithmetic_s, traffic_s, parameters.overlap)
    seconds += start_seconds(of_class.start_s, float(is_product), rates.wait_s, rates.call_s)
    count = kernel.count
    return KernelTime(
        kernel,
        count * seconds,
        count * arithmetic_s,
        count * traffic_s,
        count * one.flops,
        count * one.num_bytes,
    )
