"""Which kernels the fit tells apart: those that use a device in different ways."""

from __future__ import annotations

import math

from traintime.workload.kernels import Kernel


def class_name(kernel: Kernel) -> str:
    """Return what the fit tells apart: kind, role, and for convolutions what kernels differ by."""
    if kernel.phase == "forward":
        role = "forward"
    else:
        role = "weight" if kernel.op.endswith(".weight") else "backward"
    name = f"{kernel.kind}/{role}"
    if kernel.kind == "grouped convolution":
        return f"{name}/{_group_class(kernel, role)}"
    if "group_norm" in kernel.op:
        return f"{name}/groups"
    if kernel.kind == "copy" and not kernel.op.endswith(CASTS):
        return f"{name}/{'joined' if kernel.op.endswith(OF_PARTS) else 'moved'}"
    if kernel.kind != "convolution":
        return name
    if kernel.window == kernel.stride:
        return f"{name}/patches"
    return f"{name}/{min(kernel.window, WIDEST_WINDOW)}"


WINOGRAD_WINDOW = 3


def by_winograd(name: str) -> bool:
    """Say whether full fp32 has Winograd's algorithm for a class.

    Args:
        name: Of the class.
    """
    return name.startswith("convolution/") and name.endswith(f"/{WINOGRAD_WINDOW}")


CASTS = "_to_copy"
OF_PARTS = ("cat", "slice_backward", "copy_")
WIDEST_WINDOW = 7
OWN_WIDTHS = (4, 8, 16, 32)
MANY_GROUPS, MANY_CHANNELS = 16, 256
WIDEST_MIDDLE = 48
"""Read from networks timed with the cuDNN of 2022 on an RTX 3090; its documents do not say them."""


def _group_class(kernel: Kernel, role: str) -> str:
    """Return which kernels cuDNN has for a grouped convolution in NHWC.

    "narrow" groups of a few equal widths have kernels of their own if there are enough of them; all
    others fall back to one that is many times slower, the wider the slower up to a tile of 64.
    Groups that are the "samples" of a batch, each with its own weights, were put in NCHW before.
    """
    assert kernel.sides, "every convolution has sides"
    if any(kernel.sides.batch.per_sample):
        return "samples"
    groups, rows, columns, inner = kernel.at(1).sides
    width, other = {
        "forward": (columns, inner),
        "backward": (columns, inner),
        "weight": (rows, columns),
    }[role]
    equal = width * kernel.window**2 == other
    many = groups >= MANY_GROUPS or groups * width >= MANY_CHANNELS
    if equal and width in OWN_WIDTHS and many:
        return "narrow"
    return "middle" if width <= WIDEST_MIDDLE else "wide"


def slow_in_nhwc(name: str, *, half: bool) -> bool:
    """Say whether kernels of a class convert from NHWC, or fall back to slow ones there.

    Args:
        name: Of the class.
        half: Whether they compute in 16 bits.
    """
    kind, _, *shape = name.split("/")
    if kind == "grouped convolution":
        return half and shape != ["samples"]
    return shape in (["groups"], ["joined"])


def splits_inner(kind: str, *, contiguous: bool) -> bool:
    """Say whether a long inner side is split among cores.

    torch's own kernels of depthwise convolutions, which run on NCHW, sum each weight's gradient in
    one block.

    Args:
        kind: Of kernel.
        contiguous: Whether images are NCHW.
    """
    return not (contiguous and kind == "depthwise convolution")


ALIGNED = 8
"""Values of 16 bits in one load. Shorter sides are padded to a tile whatever they are."""


def misalignment(kernel: Kernel, rows: float, columns: float, inner: float) -> float:
    """Return how far values of a product in 16 bits are from being loaded 8 at a time, 0 to 1.

    0 where 8 lie in one load, 1 where each needs its own.

    Args:
        kernel: Of the product.
        rows: Of its result.
        columns: Of its result.
        inner: Side that is summed over.
    """
    if not kernel.sides:
        return 0.0
    lengths = {"rows": rows, "columns": columns, "inner": inner}
    along = [lengths[side] for side in _lie_along(kernel)]
    padded = "convolution" in kernel.kind
    return max((_misalignment(side, padded=padded) for side in along), default=0.0)


def _lie_along(kernel: Kernel) -> tuple[str, ...]:
    """Return along which sides of a product values lie in memory.

    Beside the columns it is the rows or the inner side. The other counts places (in a batch, in
    space or time), whose number needs no alignment: whatever grows with the batch does. Where
    neither of a plain product's does, that is taken to be the longer one.
    """
    assert kernel.sides, "only products have sides"
    if "convolution" in kernel.kind:
        return ("columns", "rows" if kernel.op.endswith(".weight") else "inner")
    amounts = {
        "columns": kernel.sides.columns,
        "rows": kernel.sides.rows,
        "inner": kernel.sides.inner,
    }
    fixed = [side for side, amount in amounts.items() if not any(amount.per_sample)]
    if "rows" in fixed and "inner" in fixed:
        fixed.remove("rows" if amounts["rows"].at(1) > amounts["inner"].at(1) else "inner")
    return tuple(fixed)


def _misalignment(side: float, *, padded: bool) -> float:
    together = math.gcd(round(side), ALIGNED)
    if side <= ALIGNED or together == ALIGNED:
        return 0.0
    return 1.0 if padded else 1.0 - math.log(together, ALIGNED)


def steps_in_turn(kind: str, batch: float) -> float:
    """Return how many products of a kernel wait for each other: each step of a recurrent network.

    Args:
        kind: Of kernel.
        batch: Products.
    """
    return batch if kind == "recurrent" else 1.0
