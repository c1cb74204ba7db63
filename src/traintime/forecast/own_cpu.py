"""This machine's processor as a device of the catalogue, from what was measured on it."""

from __future__ import annotations

from traintime.forecast.device_parameters import MEASURED_HERE
from traintime.forecast.processor_parameters import MEASURED, OWN_KEY
from traintime.hardware.devices import DeviceSpec
from traintime.hardware.machine import Machine
from traintime.hardware.processor import ProcessorRates
from traintime.hardware.profile import HardwareProfile


def spec_of_profile(profile: HardwareProfile) -> DeviceSpec:
    """Return a processor with the rates that were measured instead of a data sheet's.

    Args:
        profile: Of the CPU.
    """
    assert profile.processor, "every profile of a processor has its rates"
    measured = profile.evidence == MEASURED_HERE
    note = f"{MEASURED} on {profile.measured_on}" if measured else "by cores and clock alone"
    return spec_of_processor(profile.machine, profile.processor, note)


def spec_of_processor(machine: Machine, rates: ProcessorRates, note: str = "") -> DeviceSpec:
    """Return a processor with some rates.

    Args:
        machine: That it is in.
        rates: That were measured on it.
        note: What else to know.
    """
    return DeviceSpec(
        key=OWN_KEY,
        name=machine.cpu,
        kind="cpu",
        architecture="CPU",
        fp32_flops=rates.product_flops,
        bf16_flops=rates.half_product_flops,
        memory_bytes=machine.ram_bytes,
        bandwidth=rates.memory_bandwidth,
        cores=machine.cores,
        clock_hz=machine.ghz * 1e9,
        cache_bandwidth=rates.cache_bandwidth,
        call_s=rates.call_s,
        parallel_call_s=rates.parallel_call_s,
        note=note,
    )
