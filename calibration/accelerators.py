"""How fast accelerators that are no GPUs compute, by what MLPerf Training's systems of them took.

No step of theirs is in the public tables, so the law of kernels knows nothing of them. What is
known are whole trainings of ResNet-50. By how much a device is faster there than its data sheet
read as a GPU's is one factor on what it sustains, for each device; one without results is taken to
be like its vendor's others. No factor lets arithmetic be faster than the peak. It may for memory: a
compiler that sees the whole step joins kernels, so less is moved than the law counts.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from traintime.forecast.device_parameters import (
    WHOLE_TRAININGS,
    DeviceShares,
    Parameters,
    read_parameters,
)
from traintime.forecast.device_step import predict_device_step, rates, sized_kernels
from traintime.forecast.intervals import conformal_sigma
from traintime.hardware.devices import ACCELERATORS, find_device
from traintime.workload.shipped import shipped_graph

SHARES = ("half", "tf32", "full", "vector", "bandwidth")
MOST_LOG_FACTOR = math.log(32.0)
HALVINGS = 30
MOST_DEVICES = 64
"""Of a system: in larger ones the devices wait for each other."""
TRAINING_IMAGES = 1_281_167
"""Of ImageNet's 1,000 classes."""


@dataclass(frozen=True)
class Result:
    """A training of ResNet-50 on 224 x 224 images.

    Args:
        device: Key of the catalogue.
        batch_size: On each device.
        images_per_s: Of each device, validation included.
    """

    device: str
    batch_size: int
    images_per_s: float


def read_results(folder: Path, *, of_gpus: bool = False) -> list[Result]:
    """Return the results of small systems, by hours and epochs to the quality asked for.

    Args:
        folder: Of the public tables.
        of_gpus: Whether those of GPUs instead.
    """
    kinds = ("gpu",) if of_gpus else ACCELERATORS
    entries: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    with (folder / "mlperf_results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            named = tuple(row[name] for name in ("path", "hardware", "n_devices", "global_batch"))
            if row["model"] == "resnet50" and find_device(row["hardware"]).kind in kinds:
                entries[named][row["metric"]] = row
    found: list[Result] = []
    for metrics in entries.values():
        if not {"hours_to_target", "epochs_to_target"} <= metrics.keys():
            continue
        time = metrics["hours_to_target"]
        devices = int(time["n_devices"])
        batch_size = time["batch_per_device"]
        if devices <= MOST_DEVICES and batch_size:
            images = float(metrics["epochs_to_target"]["value"]) * TRAINING_IMAGES
            seconds = 3600.0 * float(time["value"])
            found.append(
                Result(time["hardware"], round(float(batch_size)), images / seconds / devices)
            )
    return found


def correct(parameters: dict[str, Any], folder: Path) -> None:
    """Make the shares of accelerators those that their results ask for, and say how sure that is.

    Args:
        parameters: As `fit.to_json` made them; changed.
        folder: Of the public tables.
    """
    results = read_results(folder)
    before = read_parameters(parameters)
    logs = _log_factors(results, before)
    medians = {device: statistics.median(found) for device, found in logs.items()}
    for key, shares in parameters["devices"].items():
        if find_device(key).kind in ACCELERATORS:
            factor = math.exp(medians.get(key, _of_kin(key, medians)))
            faster = _faster(DeviceShares(**shares), factor)
            shares.update({name: float(f"{getattr(faster, name):.4g}") for name in SHARES})
            shares["evidence"] = WHOLE_TRAININGS
    left_out = [
        log - _of_kin(device, {key: one for key, one in medians.items() if key != device})
        for device, found in logs.items()
        for log in found
    ]
    # Results are of one network, tuned by hand as no user's are. What tuning is worth was seen on
    # GPUs: it is not known of these devices for other networks and other people.
    spread = math.hypot(conformal_sigma(left_out), conformal_sigma(_tuned(folder, before)))
    parameters["spread"][WHOLE_TRAININGS] = float(f"{spread:.4g}")


def _tuned(folder: Path, parameters: Parameters) -> list[float]:
    """Return by how much results of GPUs are faster than their forecasts, as logs."""
    found = read_results(folder, of_gpus=True)
    logs = [_log_excess(one, parameters, parameters.devices[one.device]) for one in found]
    return logs or [0.0]


def _of_kin(key: str, known: Mapping[str, float]) -> float:
    """Return the median of the devices of a vendor; of all, if it has no other."""
    vendor = find_device(key).vendor
    kin = [value for other, value in known.items() if find_device(other).vendor == vendor]
    return statistics.median(kin or known.values())


def _faster(shares: DeviceShares, factor: float) -> DeviceShares:
    """Return shares so many times as large."""
    return replace(shares, **{name: factor * getattr(shares, name) for name in SHARES})


def _log_factors(results: list[Result], parameters: Parameters) -> dict[str, list[float]]:
    """Return what factors make forecasts take as long as results did, as logs."""
    logs: dict[str, list[float]] = defaultdict(list)
    for result in results:
        spec = find_device(result.device)
        if spec.half_flops:  # else its peak was never published
            shares = parameters.devices[spec.key]

            def excess(log: float, of: Result = result, shares: DeviceShares = shares) -> float:
                return _log_excess(of, parameters, _faster(shares, math.exp(log)))

            logs[spec.key].append(_zero(excess, -MOST_LOG_FACTOR, MOST_LOG_FACTOR))
    return logs


def _log_excess(result: Result, parameters: Parameters, shares: DeviceShares) -> float:
    """Return the log of how much longer than the result a forecast with such shares takes."""
    graph = shipped_graph("resnet50", "amp")
    assert graph, "the model is shipped"
    kernels = sized_kernels(graph, result.batch_size, 1.0, "amp", parameters)
    device = rates(find_device(result.device), "amp", shares)
    step = predict_device_step(graph, kernels, device, parameters, mode="graph")
    return math.log(result.images_per_s * step.seconds / result.batch_size)


def _zero(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is 0, by halving; the nearer end where it is nowhere."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
