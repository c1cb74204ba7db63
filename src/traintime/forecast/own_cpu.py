"""This machine's processor as a device of the law of kernel times, from what was measured on it."""

from __future__ import annotations

from traintime.hardware.devices import DeviceSpec
from traintime.hardware.profile import HardwareProfile

VALUE_BYTES = 4.0


def spec_of_profile(profile: HardwareProfile) -> DeviceSpec:
    """Return peaks that were measured: of matrix products in fp32 and bf16, of a long vector's sum.

    Args:
        profile: Of the CPU.
    """
    machine = profile.machine
    products = {form: _best(profile, "matrix product", form) for form in ("fp32", "bf16")}
    return DeviceSpec(
        key="cpu",
        name=machine.cpu,
        kind="cpu",
        architecture="CPU",
        fp32_flops=products["fp32"],
        bf16_flops=products["bf16"],
        memory_bytes=machine.ram_bytes,
        bandwidth=_long_vector(profile) * VALUE_BYTES,
        cores=machine.cores,
        clock_hz=machine.ghz * 1e9,
        note=f"measured on {profile.measured_on}",
    )


def _best(profile: HardwareProfile, kind: str, form: str) -> float | None:
    rates = [rate.per_s for rate in profile.rates if (rate.kind, rate.form) == (kind, form)]
    return max(rates, default=None)


def _long_vector(profile: HardwareProfile) -> float:
    rates = [rate for rate in profile.rates if rate.kind == "optimizer"]
    return max(rates, key=lambda rate: rate.size[0]).per_s
