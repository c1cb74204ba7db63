"""Forecasts for devices, made by hand; no number in them was computed by the package."""

from __future__ import annotations

import dataclasses
from typing import Any

from traintime.forecast.device_forecast import DeviceForecast, KernelShare
from traintime.forecast.kind_share import KindShare
from traintime.units import GIB, MIB, Interval

STEP_S = 0.200
KINDS = {
    "convolution": 0.084,
    "1×1 convolution": 0.046,
    "batch norm": 0.036,
    "elementwise": 0.022,
    "pooling": 0.006,
    "optimizer": 0.004,
    "matrix product": 0.0012,
    "copy": 0.0005,
    "reduction": 0.0003,
}
CONVOLUTION = KernelShare(
    name="aten.convolution_backward.weight in layer1.0.conv2",
    kind="convolution",
    phase="backward",
    count=3,
    seconds=0.012,
    share=0.06,
    flops=3 * 2 * 802_816 * 64 * 576,
    num_bytes=3 * 256 * MIB,
    arithmetic_s=0.0113,
    traffic_s=0.0021,
    sides=(1.0, 64.0, 576.0, 802_816.0),
)
BATCH_NORM = KernelShare(
    name="aten.native_batch_norm in bn1",
    kind="batch norm",
    phase="forward",
    count=1,
    seconds=0.0022,
    share=0.011,
    flops=0.0,
    num_bytes=1.5 * GIB,
    arithmetic_s=0.0,
    traffic_s=0.0022,
    sides=(),
)
ATTENTION = KernelShare(
    name="aten.scaled_dot_product_attention in encoder.0",
    kind="attention",
    phase="forward",
    count=12,
    seconds=0.001,
    share=0.005,
    flops=12 * 2 * 3072 * 197 * 64 * 197 * 2,
    num_bytes=300 * MIB,
    arithmetic_s=0.0004,
    traffic_s=0.0008,
    sides=(3072.0, 197.0, 197.0, 64.0),
)


def times(median: float) -> Interval:
    return Interval(median, median * 0.85, median * 1.2)


def device_forecast(**changes: Any) -> DeviceForecast:
    """Return ResNet-50 on an RTX 3090, with other values where they are given."""
    steps, epochs = 5_004, 90
    epoch_s = STEP_S * steps
    forecast = DeviceForecast(
        model="resnet50",
        model_source="torchvision 0.20.1, captured with torch 2.5.1",
        device="rtx-3090",
        device_name="GeForce RTX 3090",
        num_devices=1,
        precision="amp",
        batch_size=256,
        input_shape=(3, 224, 224),
        parameters=25_557_032,
        evidence="device known from measurements",
        assumptions=(
            "data is ready when a step wants it: loading is not counted",
            "the device keeps its clock, and nothing else runs on it",
        ),
        step_time_s=times(STEP_S),
        epoch_time_s=times(epoch_s),
        total_s=times(epochs * epoch_s * 1.02),
        stages_s={
            "train": times(epochs * epoch_s),
            "validate": times(epochs * epoch_s * 0.02),
        },
        samples_per_s=256 / STEP_S,
        step_by_kind=tuple(KindShare(kind, s, s / STEP_S) for kind, s in KINDS.items()),
        limited_by="arithmetic",
        utilization=0.44,
        flops_per_step=256 * 24.6e9,
        peak_memory_bytes=Interval(20 * GIB, 18 * GIB, 22.2 * GIB),
        memory_by_part={
            "weights": 97.5 * MIB,
            "gradients": 97.5 * MIB,
            "optimizer": 97.5 * MIB,
            "activations": 18.9 * GIB,
            "workspace": 400 * MIB,
            "context": 420 * MIB,
        },
        capacity_bytes=24 * GIB,
        chance_it_fits=0.97,
        largest_batch_size=288,
        flops_per_joule=90e9,
        steps_per_epoch=steps,
        epochs=epochs,
        kernels=(CONVOLUTION, BATCH_NORM, ATTENTION),
    )
    return dataclasses.replace(forecast, **changes)


def on(key: str, name: str, slower: float, **changes: Any) -> DeviceForecast:
    """Return the same job on a device that takes so many times as long."""
    base = device_forecast()
    scaled = {
        field: getattr(base, field).scaled(slower)
        for field in ("step_time_s", "epoch_time_s", "total_s")
    }
    scaled["stages_s"] = {name: time.scaled(slower) for name, time in base.stages_s.items()}
    return device_forecast(
        **{"device": key, "device_name": name, "samples_per_s": base.samples_per_s / slower}
        | scaled
        | changes
    )


def several() -> list[DeviceForecast]:
    """Return the job on devices that differ in what is known of them, sorted by time."""
    return [
        on(
            "h100-sxm5-80gb",
            "H100 SXM5 80GB",
            0.03,
            num_devices=8,
            capacity_bytes=80 * GIB,
            chance_it_fits=1.0,
            flops_per_joule=310e9,
        ),
        on("a100-sxm4-80gb", "A100 SXM4 80GB", 0.5, capacity_bytes=80 * GIB, chance_it_fits=1.0),
        on(
            "gtx-1080",
            "GeForce GTX 1080",
            5.0,
            capacity_bytes=8 * GIB,
            chance_it_fits=0.002,
            largest_batch_size=64,
            evidence="specs only",
        ),
        device_forecast(),
        on(
            "cpu-xeon-e5-2630v3-dual",
            "Xeon E5-2630 v3, two of them",
            120.0,
            capacity_bytes=None,
            chance_it_fits=None,
            largest_batch_size=None,
            flops_per_joule=None,
            evidence="specs only",
        ),
    ]
