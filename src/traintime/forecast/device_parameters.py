"""What the law of kernel times needs to know of kernels and devices, fitted to measurements.

`device_parameters.json` is made by `calibration/fit.py` from public measurements; nothing in it was
typed by hand. A device that was measured has shares of its own; another has those that its data
sheet and its architecture suggest, and is answered with a wider interval.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import inf
from typing import Any

from traintime.hardware.devices import DeviceSpec

Evidence = str
SPECS_ONLY = "specs only"
UNKNOWN_ARCHITECTURE = "specs only, nothing like it measured"
WHOLE_TRAININGS = "specs and whole trainings"
KNOWN_DEVICE = "device known from measurements"
MEASURED_HERE = "measured on this machine"
RUNNING = "run on this machine"
LANGUAGE_MODELS = "language models"
"""Key of a spread: they were measured in fewer tables, by code of more kinds."""


@dataclass(frozen=True, slots=True)
class KernelClass:
    """How one kind of kernel in one role uses a device.

    Args:
        peak_share: Of the sustained rate, at large sides, in 16 bits and in TF32.
        peak_share_fp32: The same in 32 bits.
        bandwidth_share: Of the memory's bandwidth.
        bytes_at_start: Traffic that a kernel costs before its own.
        rows_least: Rows of the result that keep a core of 10¹² FLOP/s computing.
        columns_least: See there.
        inner_at_half: Inner side at which any core does.
        waves_at_half: Tiles per core at which half of the rate is reached.
        misaligned_share: Of the rate in 16 bits where each value needs a load of its own.
        contiguous_peak_share: Factor on the 16-bit share where images are NCHW.
        contiguous_bandwidth_share: Factor on the bandwidth share there, in 16 bits.
        contiguous_bandwidth_share_fp32: The same in 32 bits.
        contiguous_traffic: Traffic that converting to NHWC and back adds, relative to its own.
        channels_last_traffic: The same on NHWC, of kernels that convert from it or have no good
            kernel for it.
    """

    peak_share: float
    peak_share_fp32: float
    bandwidth_share: float
    bytes_at_start: float
    rows_least: float = 0.0
    columns_least: float = 0.0
    inner_at_half: float = 0.0
    waves_at_half: float = 0.0
    misaligned_share: float = 1.0
    contiguous_peak_share: float = 1.0
    contiguous_bandwidth_share: float = 1.0
    contiguous_bandwidth_share_fp32: float = 1.0
    contiguous_traffic: float = 0.0
    channels_last_traffic: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceShares:
    """What a device sustains of its data sheet, beyond what its kernels' classes say.

    More than 1 is more than other devices do, of which classes reach a part. No kernel exceeds the
    data sheet by it (`kernel_time.no_faster`).

    Args:
        half: Of the peak of products in 16 bits.
        tf32: Of the peak of products in TF32.
        full: Of the peak of products in fp32.
        vector: Of the fp32 peak outside the matrix engine.
        bandwidth: Of the memory bandwidth.
        evidence: What these stand on.
    """

    half: float
    tf32: float
    full: float
    vector: float
    bandwidth: float
    evidence: Evidence


@dataclass(frozen=True)
class Parameters:
    """All that was fitted.

    Args:
        classes: By "kind/role" or "kind/role/window", as `device_step.class_name` makes them.
        overlap: Exponent that joins arithmetic and traffic.
        launch_s: What a kernel costs at least.
        call_s: What dispatching an operation costs the host.
        update_call_s: What updating a parameter tensor costs the host.
        dispatch_overlap: Exponent that joins the device's time and the host's.
        cache_gain: Bandwidth of the cache over that of the memory, less 1; half of it is left for a
            kernel that moves as much as the cache holds.
        update_bytes: Traffic of one update per parameter, by optimizer.
        update_calls: Operations of one update per parameter tensor, relative to SGD, by optimizer.
        devices: Shares of every device of the catalogue.
        spread: σ of the log error by evidence, with the quantile that covers 80 %; and that of
            language models, which is used where it is wider.
        sources: Where the measurements come from.
        inner_tile: Inner side of a product that one tile sums at least.
        tile_growth: Exponent by which the least rows and columns grow with the rate of a core.
        bend: Exponent that joins a time by the shares and the least that there can be.
        tile_overlap: Exponent that joins a tile's arithmetic and the loading of its values.
    """

    classes: Mapping[str, KernelClass]
    overlap: float
    launch_s: float
    call_s: float
    update_call_s: float
    dispatch_overlap: float
    cache_gain: float
    update_bytes: Mapping[str, float]
    update_calls: Mapping[str, float]
    devices: Mapping[str, DeviceShares]
    spread: Mapping[str, float]
    sources: tuple[str, ...]
    inner_tile: float = inf
    tile_growth: float = 0.0
    tile_overlap: float = 1.0
    bend: float = 64.0

    def kernel_class(self, name: str) -> KernelClass:
        """Return the class of a kernel; what was never measured goes by its nearest kin."""
        kind, role, *_ = name.split("/")
        nearest = (f"{kind}/{role}/wide", f"{kind}/{role}", f"{kind}/{role}/3", f"{kind}/forward/3")
        for known in (name, *nearest):
            if known in self.classes:
                return self.classes[known]
        return self.classes.get(f"{kind}/forward", self.classes["other/forward"])

    def evidence(self, spec: DeviceSpec) -> Evidence:
        """Return what a forecast for a device stands on."""
        return self.shares(spec).evidence

    def shares(self, spec: DeviceSpec) -> DeviceShares:
        """Return what a device sustains; one that a user added, what the data sheet says."""
        own = self.devices.get(spec.key)
        if own:
            return own
        return DeviceShares(1.0, 1.0, 1.0, 1.0, 1.0, SPECS_ONLY)


@cache
def fitted_parameters() -> Parameters:
    """Return the shipped parameters of GPUs and their like."""
    text = files("traintime.forecast").joinpath("device_parameters.json").read_text("utf-8")
    return read_parameters(json.loads(text))


def read_parameters(values: Mapping[str, Any]) -> Parameters:
    """Return parameters from their JSON form."""
    plain = dict(values)
    plain["classes"] = {name: KernelClass(**row) for name, row in plain["classes"].items()}
    plain["devices"] = {k: DeviceShares(**row) for k, row in plain["devices"].items()}
    plain["sources"] = tuple(plain["sources"])
    return Parameters(**plain)
