"""The law of a kernel's time on a processor: arithmetic, memory traffic, start.

    t = (a^p + q^p)^(1/p) + t_start
    a = F / (P·e·g) + V·f / (P·w)
    q = Q / (B(Q)·b·w)
    t_start = s·(wait / 2 µs) of a product, s·(call / 2.8 µs) of another kind

F are FLOP of a product and P the processor's measured rate of products in that number format; e is
the share of it that this kind of kernel reaches at best, and g what is left of that at its sides,
of a convolution also at the side of the image that it makes: its kernels go along rows.
V are the values that another kind of kernel touches, and f what each costs in FLOP: a sigmoid more
than a sum. Q are bytes and b the share of the bandwidth B that the kind reaches; B lies between the
measured one of the cache, for little traffic, and that of the memory. w is the part of the cores
that work: torch computes short vectors on one, and random numbers always. What a kernel costs at
least goes with what a call costs on a processor, or for products with how long its cores wait for
each other, both measured too. p joins arithmetic and traffic, which overlap, but not wholly.

The functions take numbers or tensors alike: the calibration differentiates what the forecast
computes. Reference: Williams, Waterman, Patterson 2009 (roofline).
"""

from __future__ import annotations

import math
from typing import Any

from traintime.forecast.kernel_time import Number, kernel_seconds
from traintime.workload.kernels import PRODUCT_KINDS, Kernel

GRAIN_VALUES = 32_768.0
"""Torch shares most pointwise operations among the cores from so many values on."""
LANES = 16
"""Channels that a convolution's kernel computes at once: 512 bits of fp32."""
USUAL_WAIT_S, USUAL_CALL_S = 2e-6, 2.8e-6
"""Of the processor that the law was fitted on: starts are given for one like it."""


def class_names(kernel: Kernel) -> tuple[str, str, str]:
    """Return what kernels are told apart by: kind, role and detail, and less and less of it.

    Args:
        kernel: A captured one.
    """
    kind = kernel.kind
    role: str = kernel.phase
    if kind in PRODUCT_KINDS:
        role = "weight" if kernel.op.endswith(".weight") else role
        detail = _geometry(kernel) if "convolution" in kind else ""
        detail = kernel.op.split(".", 1)[1] if kind == "attention" else detail
    else:
        detail = kernel.op.split(".", 1)[1]
    return f"{kind}/{role}/{detail}", f"{kind}/{role}", kind


def _geometry(kernel: Kernel) -> str:
    spread = " strided" if kernel.stride > 1 else " dilated" if kernel.dilation > 1 else ""
    if kernel.kind == "grouped convolution":
        narrow = padded_side(kernel, kernel.at(1).sides) < LANES
        return ("narrow" if narrow else "wide") + spread
    if kernel.window == kernel.stride > 1:
        return "patches"
    if kernel.kind == "depthwise convolution" and _is_multiplied(kernel):
        return "multiplied"
    return f"{min(kernel.window, WIDEST_WINDOW)}{spread}"


def _is_multiplied(kernel: Kernel) -> bool:
    """Say whether a depthwise convolution makes several channels of each: a rare kind."""
    _, rows, columns, inner = kernel.at(1).sides
    if kernel.op.endswith(".weight"):
        return rows > 1
    return columns > 1 or inner > kernel.window**2


WIDEST_WINDOW = 7


def padded_side(kernel: Kernel, sides: tuple[float, ...]) -> float:
    """Return the side of a product that fills vector registers: a convolution's channels.

    Args:
        kernel: What it is.
        sides: (batch, rows, columns, inner).
    """
    return sides[1] if kernel.op.endswith(".weight") else sides[2]


def padding(channels: float) -> float:
    """Return how many times the channels a kernel computes that fills its registers."""
    return LANES * math.ceil(channels / LANES) / channels


NO_IMAGE = 1e9
"""Side of an image where there is none: no row of it is short."""


def image_side(kernel: Kernel, size: float = 1.0) -> float:
    """Return the side of the image that a convolution makes, or gets a gradient for.

    Args:
        kernel: What it is; of what is no convolution, `NO_IMAGE` is returned.
        size: u, the input's size relative to the captured one.
    """
    if "convolution" not in kernel.kind:
        return NO_IMAGE
    _, rows, _, inner = kernel.at(1, size).sides
    return math.sqrt(inner if kernel.op.endswith(".weight") else rows)


def shared_part(values: Number, grain: Number) -> Any:
    """Return how far an operation on so many values is shared by the cores, 0 to 1.

    Args:
        values: Of the operation.
        grain: How many its kind is shared from.
    """
    relative = values / grain
    fourth = relative**4
    return fourth / (fourth + 1.0)


def kernel_parts(
    flops: Number,
    num_bytes: Number,
    values: Number,
    sides: tuple[Any, Any, Any],
    padded: Number,
    side: Number,
    shared: Number,
    peak: Number,
    vector_peak: Number,
    memory_bandwidth: Any,
    cache_bandwidth: Any,
    of_class: Any,
    cache_bytes: Number,
    one_core: Any,
) -> tuple[Any, Any]:
    """Return seconds of arithmetic and of traffic, each as if it were alone.

    Args:
        flops: Of a product, 0 for other kinds.
        num_bytes: Read and written.
        values: The same as a number of values; 0 for a product.
        sides: (rows, columns, inner) of a product, ones for other kinds.
        padded: As `padding` returns it; 1 for other kinds.
        side: As `image_side` returns it.
        shared: As `shared_part` returns it; 1 for a product.
        peak: FLOP/s of products in the kernel's number format.
        vector_peak: FLOP/s of products in fp32.
        memory_bandwidth: Byte/s beyond the cache.
        cache_bandwidth: Byte/s within it.
        of_class: How its kind uses a processor: a `ProcessorClass`, or tensors for its numbers.
        cache_bytes: Traffic at which half of what the cache gains is left.
        one_core: What one core reaches of all.
    """
    rows, columns, inner = sides
    width = one_core + (1.0 - one_core) * shared
    efficiency = (
        of_class.peak_share
        * (rows / (rows + of_class.rows_at_half))
        * (columns / (columns + of_class.columns_at_half))
        * (inner / (inner + of_class.inner_at_half))
        * (side / (side + of_class.side_at_half))
        / padded**of_class.padding_cost
    )
    arithmetic_s = flops / (peak * efficiency) + values * of_class.value_flops / (
        vector_peak * width
    )
    relative = num_bytes / cache_bytes
    gain = (cache_bandwidth - memory_bandwidth) / (1.0 + relative**2)
    traffic_s = num_bytes / ((memory_bandwidth + gain) * of_class.bandwidth_share * width)
    return arithmetic_s, traffic_s


def joined(arithmetic_s: Number, traffic_s: Number, overlap: Number) -> Any:
    """Return the time of both, in seconds; in between in microseconds, for powers' sake."""
    return 1e-6 * kernel_seconds(arithmetic_s * 1e6, traffic_s * 1e6, overlap)


def start_seconds(start_s: Number, is_product: Any, wait_s: Number, call_s: Number) -> Any:
    """Return what a kernel costs at least.

    Args:
        start_s: Of its class, on the processor that the law was fitted on.
        is_product: 1 for a product, 0 for another kind.
        wait_s: What the cores of this processor wait for each other.
        call_s: An operation on a single number on it.
    """
    relative = is_product * wait_s / USUAL_WAIT_S + (1.0 - is_product) * call_s / USUAL_CALL_S
    return start_s * relative
