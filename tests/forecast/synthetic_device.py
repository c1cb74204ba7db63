"""A device, a law and a model with round numbers, so that a forecast can be worked by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

from traintime.forecast.asked_job import DeviceJob, SizedModel, sized_model
from traintime.forecast.device_parameters import (
    KNOWN_DEVICE,
    MEASURED_HERE,
    SPECS_ONLY,
    DeviceShares,
    KernelClass,
    Parameters,
)
from traintime.hardware.devices import DeviceSpec
from traintime.units import GIB
from traintime.workload.kernels import Amount, Blocks, Kernel, KernelGraph, Numerics, Phase, Sides
from traintime.workload.sample import Sample

IMAGE = Sample((3, 32, 32))
PARAMETERS_BYTES = 4e6

HALF_OF_EVERYTHING = KernelClass(
    peak_share=0.5, peak_share_fp32=0.5, bandwidth_share=0.5, bytes_at_start=0.0
)


def parameters(**changes: Any) -> Parameters:
    """A law without overlap, launches or caches: arithmetic and traffic add up at half rate."""
    law = Parameters(
        classes={"other/forward": HALF_OF_EVERYTHING},
        overlap=1.0,
        launch_s=0.0,
        call_s=0.0,
        update_call_s=0.0,
        dispatch_overlap=1.0,
        cache_gain=0.0,
        update_bytes={"sgd": 20.0, "adam": 28.0, "adamw": 28.0, "muon": 40.0},
        update_calls={"sgd": 1.0, "adam": 2.0, "adamw": 2.0, "muon": 2.0},
        devices={"card": DeviceShares(1.0, 1.0, 1.0, 1.0, 1.0, KNOWN_DEVICE)},
        spread={SPECS_ONLY: 0.4, KNOWN_DEVICE: 0.2, MEASURED_HERE: 0.1},
        sources=("by hand",),
    )
    return dataclasses.replace(law, **changes)


def card(**changes: Any) -> DeviceSpec:
    """100 TFLOP/s in 16 bits, 10 in 32, 1 TB/s, 8 GiB, 200 W, 100 GB/s one way."""
    spec = DeviceSpec(
        key="card",
        name="Card",
        kind="gpu",
        architecture="Ampere",
        fp32_flops=10e12,
        fp16_flops=100e12,
        memory_bytes=8 * GIB,
        bandwidth=1e12,
        tdp_w=200,
        interconnect="NVLink3",
        interconnect_bytes_per_s=200e9,
        cores=100,
        confidence="ds",
    )
    return dataclasses.replace(spec, **changes)


def each_sample(amount: float) -> Amount:
    return Amount((0.0,), (amount,))


def kernel(kind: str, phase: Phase, *, flops: float = 0.0, num_bytes: float = 0.0) -> Kernel:
    """A kernel whose work grows with the batch alone."""
    one = Amount((64.0,))
    return Kernel(
        op=f"aten.{kind.replace(' ', '_')}",
        kind=kind,
        phase=phase,
        where="head" if phase == "forward" else "",
        count=1,
        half=True,
        flops=each_sample(flops),
        bytes_read=each_sample(num_bytes / 2),
        bytes_written=each_sample(num_bytes / 2),
        sides=Sides(one, one, one, one) if flops else None,
    )


def graph(**changes: Any) -> KernelGraph:
    """1 GFLOP forward, 2 backward and 10 MB of traffic a sample; a million parameters."""
    captured = KernelGraph(
        model="toy",
        source="a test",
        numerics="amp",
        kernels=(
            kernel("matrix product", "forward", flops=1e9),
            kernel("elementwise", "forward", num_bytes=10e6),
            kernel("matrix product", "backward", flops=2e9),
        ),
        num_calls=10,
        parameters=1_000_000,
        parameter_tensors=4,
        buffers_bytes=1_000,
        kept_bytes=each_sample(1e6),
        peak_bytes=Amount((4e6,), (1.5e6,)),
        input_shape=IMAGE.shape,
    )
    return dataclasses.replace(captured, **changes)


def blocks(**changes: Any) -> Blocks:
    """Ten blocks in "layers" that keep 0.9 of the 1 MB a sample, and pass 10 kB on each."""
    captured = Blocks(
        paths=("layers",),
        count=10,
        largest=80_000,
        parameters=800_000,
        kept_bytes=Amount((1.6e6,), (9e5,)),
        passed_bytes=each_sample(1e5),
        most_bytes=Amount((1.6e5,), (1.2e5,)),
    )
    return dataclasses.replace(captured, **changes)


def in_layers(captured: KernelGraph) -> KernelGraph:
    """The same graph with its forward in blocks."""
    kernels = tuple(
        dataclasses.replace(one, where="layers.0.linear") if one.phase == "forward" else one
        for one in captured.kernels
    )
    return dataclasses.replace(captured, kernels=kernels, blocks=blocks())


def job(**changes: Any) -> DeviceJob:
    """Two epochs of 1,000 samples in batches of 10, without validation."""
    asked = DeviceJob(
        model="toy",
        sample=IMAGE,
        train_samples=1_000,
        validation_samples=0,
        epochs=2,
        batch_size=10,
        accumulate=1,
        optimizer="sgd",
        precision="auto",
        memory_format="auto",
        compiled=False,
    )
    return dataclasses.replace(asked, **changes)


def model(captured: KernelGraph | None = None, law: Parameters | None = None) -> SizedModel:
    """The graph above, alike in both numerics but for their name."""
    captured = captured or graph()

    def graphs(numerics: Numerics) -> KernelGraph:
        return dataclasses.replace(captured, numerics=numerics)

    sample = Sample(captured.input_shape, tokens=captured.size_unit == "tokens")
    return sized_model(graphs, sample, law or parameters())
