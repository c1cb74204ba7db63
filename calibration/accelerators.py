"""How fast accelerators that are no GPUs compute, by what MLPerf Training's systems of them took.

No step of theirs is in the public tables, so the law of kernels knows nothing of them. What is
known are whole trainings of ResNet-50. What they reach of the forecast for a data sheet read as a
GPU's is one factor for each device; one without results is taken to be like its vendor's others.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traintime.forecast.device_parameters import WHOLE_TRAININGS, Parameters, read_parameters
from traintime.forecast.device_step import predict_device_step, rates, sized_kernels
from traintime.forecast.intervals import conformal_sigma
from traintime.hardware.devices import ACCELERATORS, find_device
from traintime.workload.shipped import shipped_graph

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


def read_results(folder: Path) -> list[Result]:
    """Return the results of small systems, by hours and epochs to the quality asked for."""
    entries: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    with (folder / "mlperf_results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            named = tuple(row[name] for name in ("path", "hardware", "n_devices", "global_batch"))
            if row["model"] == "resnet50" and find_device(row["hardware"]).kind in ACCELERATORS:
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
    logs = _log_factors(results, read_parameters(parameters))
    medians = {device: statistics.median(found) for device, found in logs.items()}
    for key, shares in parameters["devices"].items():
        if find_device(key).kind in ACCELERATORS:
            factor = math.exp(medians.get(key, _of_kin(key, medians)))
            for name in ("half", "tf32", "full", "vector", "bandwidth"):
                shares[name] = float(f"{factor * shares[name]:.4g}")
            shares["evidence"] = WHOLE_TRAININGS
    left_out = [
        log - _of_kin(device, {key: one for key, one in medians.items() if key != device})
        for device, found in logs.items()
        for log in found
    ]
    parameters["spread"][WHOLE_TRAININGS] = float(f"{conformal_sigma(left_out):.4g}")


def _of_kin(key: str, known: Mapping[str, float]) -> float:
    """Return the median of the devices of a vendor; of all, if it has no other."""
    vendor = find_device(key).vendor
    kin = [value for other, value in known.items() if find_device(other).vendor == vendor]
    return statistics.median(kin or known.values())


def _log_factors(results: list[Result], parameters: Parameters) -> dict[str, list[float]]:
    """Return by how much devices were faster than their data sheets read as a GPU's, as logs."""
    logs: dict[str, list[float]] = defaultdict(list)
    graph = shipped_graph("resnet50", "amp")
    assert graph, "the model is shipped"
    for result in results:
        spec = find_device(result.device)
        if spec.half_flops:  # else its peak was never published
            kernels = sized_kernels(graph, result.batch_size, 1.0, "amp", parameters)
            device = rates(spec, "amp", parameters.devices[spec.key])
            step = predict_device_step(graph, kernels, device, parameters, compiled=True)
            logs[spec.key].append(math.log(result.images_per_s * step.seconds / result.batch_size))
    return logs
