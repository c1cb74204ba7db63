"""What holds of the law of GPUs with the shipped parameters, whatever they were fitted to."""

import dataclasses
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest

from traintime.errors import InputError
from traintime.forecast.device_parameters import fitted_parameters
from traintime.forecast.device_step import (
    DevicePrecision,
    DeviceStep,
    SizedKernel,
    predict_device_step,
    rates,
    sized_kernels,
)
from traintime.forecast.kernel_time import WINOGRAD
from traintime.hardware.devices import DeviceSpec, devices, find_device
from traintime.workload.kernels import KINDS, PRODUCT_KINDS, Amount, Kernel, KernelGraph, Sides
from traintime.workload.shipped import shipped_graph, shipped_names

from .synthetic_device import graph, kernel

PRECISIONS: tuple[DevicePrecision, ...] = ("fp32", "tf32", "amp", "half")
SWEPT = [spec for spec in devices() if spec.kind != "cpu"]
LARGE = 65_536.0
ROUNDING = 1e-6
MOVING = [kind for kind in KINDS if kind not in PRODUCT_KINDS]
CACHED = 1e-3
"""Of a terabyte, at most."""


def step(
    captured: KernelGraph, kernels: list[SizedKernel], spec: DeviceSpec, precision: DevicePrecision
) -> DeviceStep | None:
    """Return a step; none where the data sheet says too little."""
    law = fitted_parameters()
    try:
        device = rates(spec, precision, law.shares(spec))
    except InputError:
        return None
    return predict_device_step(captured, kernels, device, law)


@cache
def sized(
    model: str, batch: int, precision: DevicePrecision
) -> tuple[KernelGraph, list[SizedKernel]]:
    captured = shipped_graph(model, "amp" if precision == "amp" else "fp32")
    assert captured, "the model is shipped"
    return captured, sized_kernels(captured, batch, 1.0, precision, fitted_parameters())


def products_of_every_class() -> Iterator[Kernel]:
    """Yield a product of 65,536 a side of every kind and role that the fit tells apart."""
    side = Amount((LARGE,))
    for name in fitted_parameters().classes:
        kind, role, *shape = name.split("/")
        if kind in PRODUCT_KINDS:
            plain = kernel(kind, "forward" if role == "forward" else "backward")
            windows = {"patches": 16}
            window = (
                windows.get(shape[0], int(shape[0]) if shape[0].isdigit() else 3) if shape else 1
            )
            yield dataclasses.replace(
                plain,
                op=f"{plain.op}.weight" if role == "weight" else plain.op,
                window=window,
                stride=window if shape == ["patches"] else 1,
                flops=Amount((2 * LARGE**3,)),
                sides=Sides(Amount((1.0,)), side, side, side),
            )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_product_is_computed_faster_than_its_number_format_allows(precision: DevicePrecision):
    law = fitted_parameters()
    made = graph(kernels=tuple(products_of_every_class()))
    for half in (True, False):
        kernels = tuple(dataclasses.replace(one, half=half) for one in made.kernels)
        captured = dataclasses.replace(made, kernels=kernels)
        at_size = sized_kernels(captured, 1, 1.0, precision, law)
        for spec in SWEPT:
            predicted = step(captured, at_size, spec, precision)
            for time in predicted.kernels if predicted else ():
                peak, most = _limits(spec, time.kernel, precision)
                assert time.flops / time.arithmetic_s <= most * peak * (1 + ROUNDING), (
                    spec.key,
                    time.kernel,
                )


def _limits(spec: DeviceSpec, product: Kernel, precision: DevicePrecision) -> tuple[float, float]:
    """Return a product's peak by the data sheet, and how often algorithms may exceed it."""
    fp32 = spec.fp32_flops or spec.half_flops or 0.0
    plain = spec.fp32_matrix_flops or fp32
    if product.half and spec.half_flops:
        peak, most = spec.half_flops, 1.0
    elif precision == "tf32" and spec.tf32_flops and not product.half:
        peak, most = spec.tf32_flops, 1.0
    else:
        peak = fp32 if product.half else plain
        most = WINOGRAD if product.kind == "convolution" and product.window == 3 else 1.0
    return (fp32, 1.0) if product.kind == "depthwise convolution" else (peak, most)


@pytest.mark.parametrize("spec", [s for s in SWEPT if s.kind in ("gpu", "apple", "igpu")])
def test_no_gpu_moves_a_terabyte_faster_than_its_memory(spec: DeviceSpec):
    law = fitted_parameters()
    moved = graph(kernels=tuple(kernel(kind, "forward", num_bytes=1e12) for kind in MOVING))
    predicted = step(moved, sized_kernels(moved, 1, 1.0, "fp32", law), spec, "fp32")
    for time in predicted.kernels if predicted else ():
        assert spec.bandwidth
        assert time.num_bytes / time.traffic_s <= spec.bandwidth * (1 + CACHED)


@pytest.mark.parametrize("model", shipped_names())
def test_no_shipped_model_uses_more_than_the_peak(model: str):
    for precision in PRECISIONS:
        captured, kernels = sized(model, 256, precision)
        steps = (step(captured, kernels, spec, precision) for spec in SWEPT)
        assert max(one.utilization for one in steps if one) <= 1


BETTER_IN = (
    "fp32_flops",
    "half_flops",
    "tf32_flops",
    "fp32_matrix_flops",
    "bandwidth",
    "cache_bytes",
    "tdp_w",
    "cores",
)


def at_least(one: DeviceSpec, other: DeviceSpec) -> bool:
    """Say whether no figure of a device's data sheet is worse than another's of its design."""

    def design(spec: DeviceSpec) -> tuple[str, str, str]:
        return spec.vendor, spec.architecture, spec.kind

    figures = ((getattr(one, name) or 0, getattr(other, name) or 0) for name in BETTER_IN)
    return design(one) == design(other) and all(mine >= least for mine, least in figures)


ORDERED = [(a, b) for a in SWEPT for b in SWEPT if a.key != b.key and at_least(a, b)]
FIRST_DIGITS = 1e-3
"""Shares are written in four digits."""


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", ["resnet50", "mobilenet_v2", "vit_base_patch16_224", "gpt2"])
def test_a_device_that_is_better_in_every_figure_is_not_slower(
    model: str, precision: DevicePrecision
):
    captured, kernels = sized(model, 32, precision)
    steps = {spec.key: step(captured, kernels, spec, precision) for spec in SWEPT}
    for better, worse in ORDERED:
        faster, slower = steps[better.key], steps[worse.key]
        if faster and slower:
            assert faster.device_s <= slower.device_s * (1 + FIRST_DIGITS), (better.key, worse.key)


@pytest.mark.parametrize("device", ["a100-sxm4-80gb", "rtx-3090"])
@pytest.mark.parametrize("model", ["resnet50", "vit_base_patch16_224", "gpt2"])
def test_one_sample_more_never_takes_less_nor_more_than_its_share(model: str, device: str):
    """A sample adds what it takes itself: at most the step's time over the samples before it."""
    spec = find_device(device)
    found = [step(*sized(model, batch, "amp"), spec, "amp") for batch in range(1, 258)]
    seconds = [one.device_s for one in found if one]
    assert len(seconds) == 257
    for batch, (before, after) in enumerate(pairwise(seconds), start=1):
        assert before <= after <= before * (1 + 1 / batch) * (1 + ROUNDING), batch
