"""A processor and a law with round numbers, so that a forecast can be worked by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

from traintime.forecast.device_parameters import KNOWN_DEVICE, MEASURED_HERE, SPECS_ONLY
from traintime.forecast.processor_parameters import ProcessorClass, ProcessorParameters
from traintime.hardware.devices import DeviceSpec
from traintime.hardware.processor import ProcessorRates

RATES = ProcessorRates(
    product_flops=100e9,
    half_product_flops=200e9,
    memory_bandwidth=10e9,
    cache_bandwidth=40e9,
    call_s=1e-6,
    parallel_call_s=3e-6,
)


def law(**changes: Any) -> ProcessorParameters:
    """All kinds reach half of every rate; arithmetic and traffic add up, nothing else counts."""
    parameters = ProcessorParameters(
        classes={
            name + suffix: ProcessorClass(bandwidth_share=0.5, peak_share=0.5)
            for name in ("other", "matrix product")
            for suffix in ("", " half")
        },
        overlap=1.0,
        cache_bytes=1.0,
        one_core=0.5,
        dispatch_calls=0.0,
        update_calls={"sgd": 0.0, "adam": 0.0},
        update_bytes={"sgd": 0.0, "adam": 0.0},
        reference=RATES,
        spread={SPECS_ONLY: 0.5, KNOWN_DEVICE: 0.2, MEASURED_HERE: 0.1},
        sources=("by hand",),
    )
    return dataclasses.replace(parameters, **changes)


def processor(**changes: Any) -> DeviceSpec:
    """This machine's, with the rates above."""
    spec = DeviceSpec(
        key="cpu",
        name="Processor",
        kind="cpu",
        fp32_flops=RATES.product_flops,
        bf16_flops=RATES.half_product_flops,
        bandwidth=RATES.memory_bandwidth,
        cache_bandwidth=RATES.cache_bandwidth,
        call_s=RATES.call_s,
        parallel_call_s=RATES.parallel_call_s,
    )
    return dataclasses.replace(spec, **changes)
