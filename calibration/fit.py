"""Fit the law of kernel times to public measurements, and write what the forecast ships.

    .venv/bin/python calibration/fit.py MEASURED

MEASURED is the folder of the public tables; the graphs of their models have been captured before
(`graphs.py`), and how well the law forecasts what it was not fitted to is known
(`benchmarks/forecast_accuracy.py`): that makes the intervals. Run again it writes the same file.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import accelerators
from best_products import SOURCE as ONE_PRODUCT
from best_products import best_products
from large_steps import graph_of, large_steps
from law import BEND, START, Law, exponent, fit
from law_inputs import (
    ON_MATRIX_FROM,
    Static,
    depends_on_layout,
    doublings_of_lanes,
    likeness,
    log_caps,
    prepare,
    software_of,
    vendors_of,
)
from measured_rows import OpRow, StepRow, is_fitted, op_rows, step_rows
from points import is_product, make_points
from traintime.forecast.device_parameters import (
    KNOWN_DEVICE,
    LANGUAGE_MODELS,
    SPECS_ONLY,
    UNKNOWN_ARCHITECTURE,
)
from traintime.forecast.device_step import tile_cores
from traintime.forecast.kernel_classes import slow_in_nhwc
from traintime.hardware.devices import ACCELERATORS, DeviceSpec, devices, find_device

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "traintime" / "forecast" / "device_parameters.json"
RESULTS = HERE.parent / "benchmarks" / "results"
ACCURACY, LARGE_MODELS = RESULTS / "forecast_accuracy.json", RESULTS / "large_models.json"
"""How far forecasts were off of what was left out: it makes the intervals."""
MOST_OPS = 150
"""Of each kind on each device are fitted, of NeuSight's 340,000 operations."""
Row = StepRow | OpRow

WEIGHTS = {
    "timm": 1.0,
    "ryujaehun": 1.5,
    "lambda": 1.0,
    "lambda-tf": 0.6,
    "nvidia-dle": 3.0,
    "jcjohnson": 0.6,
    "u39kun": 0.6,
    "neusight": 4.0,
    "llm-foundry": 2.0,
    "vtrain": 1.0,
    "mamf": 2.0,
    "": 0.08,
}
"""Of a row of each table; NeuSight's single operations count little each."""


@dataclass(frozen=True)
class Fitting:
    """Everything that is fitted to, with numbers for names.

    Args:
        static: Points and rows.
        devices: Keys in the order of their numbers.
        architectures: Names so.
        software: Names so.
    """

    static: Static
    devices: tuple[str, ...]
    architectures: tuple[str, ...]
    software: tuple[str, ...]

    @property
    def num(self) -> tuple[Sequence[str], int, int, Sequence[str], int, int]:
        """What the law is made of."""
        classes, num_hosts = self.static.points.classes, int(self.static.host.max()) + 1
        numbers = len(self.devices), len(self.architectures)
        return classes, *numbers, self.software, len(self.vendors), num_hosts

    @property
    def vendors(self) -> list[str]:
        """Who made the devices."""
        return vendors_of(self.static.points.spec)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The measured rows."""
        return self.static.points.rows

    @cached_property
    def well_known_devices(self) -> frozenset[str]:
        """Keys of the devices of which more is known than their best product."""
        return frozenset(row.device for row in self.rows if row.source != ONE_PRODUCT)

    def weights(self, keep: Callable[[Row], bool] = lambda _: True) -> Tensor:
        """Return (R,) weights, 0 for rows that are left out."""
        counts = Counter((source_of(row), row.device) for row in self.rows)
        values = [
            _weight(row)
            * _evened(counts[source_of(row), row.device])
            * (keep(row) and is_fitted(row))
            for row in self.rows
        ]
        return torch.tensor(values)

    def law(self, keep: Callable[[Row], bool] = lambda _: True, **more: Any) -> Law:
        """Return the law fitted to the rows that are kept."""
        return fit(self.static, self.num, self.weights(keep), **more)


RARE = ("softmax", "layer norm")
"""Kinds that take little of any step: what a device sustains is told by the others."""


def _weight(row: Row) -> float:
    rare = isinstance(row, OpRow) and row.kind in RARE
    return WEIGHTS[source_of(row)] * (0.25 if rare else 1.0)


def _evened(count: int) -> float:
    """Rows of one table on one device tell less and less that is new beyond some hundred."""
    return min(1.0, math.sqrt(100.0 / count)) if count else 1.0


def source_of(row: Row) -> str:
    """Return the table of a row; none for one of many single operations."""
    return row.source


def gather(rows: Sequence[Row]) -> Fitting:
    """Return rows, graphs and devices as one fit sees them."""
    points = make_points(rows, find_device, graph_of=graph_of)
    keys = sorted({spec.key for spec in points.spec})
    architectures = sorted({spec.architecture for spec in points.spec})
    software = sorted({software_of(row) for row in points.rows})
    static = prepare(points, keys, architectures, software)
    return Fitting(static, tuple(keys), tuple(architectures), tuple(software))


def read_rows(folder: Path) -> list[Row]:
    """Return all rows that the fit uses."""
    return [
        *step_rows(folder),
        *large_steps(folder),
        *best_products(folder),
        *op_rows(folder, MOST_OPS),
    ]


def to_json(law: Law, fitting: Fitting, spread: Mapping[str, float]) -> dict[str, Any]:
    """Return what the forecast reads of GPUs and their like."""
    tables = sorted({source_of(row) or "neusight operations" for row in fitting.rows})
    with torch.no_grad():
        of_devices = _devices(law, fitting)
    return law_to_json(law, fitting.static.points.classes) | {
        # One call updates all tensors of any optimizer on GPUs now; the rows are of SGD.
        "update_calls": dict.fromkeys(OPTIMIZERS, 1.0),
        "devices": of_devices,
        "spread": {name: _short(value) for name, value in spread.items()},
        "sources": tables,
    }


def law_to_json(law: Law, names: Sequence[str]) -> dict[str, Any]:
    """Return what was fitted of kernels and hosts: plain shares instead of logarithms."""
    with torch.no_grad():
        scalars = {name: value.exp().item() for name, value in law.scalars.items()}
        rows = dict(zip(START, law.classes().T.tolist(), strict=True))
        overlaps = {name: exponent(law.scalars[name]).item() for name in EXPONENTS}
    classes = {
        name: _class(name, {key: values[n] for key, values in rows.items()})
        for n, name in enumerate(names)
    }
    classes.setdefault("other/forward", classes["elementwise/forward"])
    return {
        "classes": dict(sorted(classes.items())),
        **{name: _short(value) for name, value in overlaps.items()},
        "bend": BEND,
        "tile_growth": _short(_sigmoid(law.scalars["tile_growth"].item())),
        **{name: _short(scalars[name]) for name in PLAIN_SCALARS},
        "update_bytes": {
            # Fitted for SGD with momentum (5 values moved); the others by their values moved.
            name: _short(scalars["update_bytes"] * values / 5)
            for name, values in {"sgd": 5, "adam": 7, "adamw": 7, "muon": 9}.items()
        },
    }


OPTIMIZERS = ("sgd", "adam", "adamw", "muon")
EXPONENTS = ("overlap", "tile_overlap", "dispatch_overlap")
PLAIN_SCALARS = (
    "launch_s",
    "call_s",
    "update_call_s",
    "cache_gain",
    "inner_tile",
)


def _class(name: str, logs: Mapping[str, float]) -> dict[str, float]:
    kind = name.split("/")[0]
    cap = log_caps([name]).exp().item()
    plain = {
        "peak_share": _sigmoid(logs["peak_share"]),
        "peak_share_fp32": _sigmoid(logs["peak_share"] + logs["fp32"]) * cap,
        "bandwidth_share": _sigmoid(logs["bandwidth_share"]),
        "bytes_at_start": math.exp(logs["bytes_at_start"]),
    }
    if depends_on_layout(name):
        plain |= {
            "contiguous_peak_share": _changed(logs, "peak_share", "contiguous_peak"),
            "contiguous_bandwidth_share": _changed(logs, "bandwidth_share", "contiguous_bandwidth"),
            "contiguous_bandwidth_share_fp32": _changed(
                logs, "bandwidth_share", "contiguous_bandwidth_fp32"
            ),
        }
    told = logs["channels_last_traffic"] != START["channels_last_traffic"]
    if slow_in_nhwc(name, half=True) and told:
        plain["channels_last_traffic"] = math.exp(logs["channels_last_traffic"])
    if is_product(kind):
        plain |= {
            **{name: math.exp(logs[name]) for name in SIDES},
            "misaligned_share": _sigmoid(-logs["misaligned"]),
            "contiguous_traffic": math.exp(logs["contiguous_traffic"]),
        }
    return {key: _short(value) for key, value in plain.items()}


def _changed(logits: Mapping[str, float], share: str, by: str) -> float:
    """Return the factor on a share whose logit changes."""
    return _sigmoid(logits[share] + logits[by]) / _sigmoid(logits[share])


SIDES = ("rows_least", "columns_least", "inner_at_half", "waves_at_half")


def _devices(law: Law, fitting: Fitting) -> dict[str, dict[str, float | str]]:
    """Return the shares of every device of the catalogue, by its own rows or its data sheet."""
    return {spec.key: _shares(law, fitting, spec) for spec in devices()}


ALONE = ("gpu",)
"""Kinds whose rated power is theirs alone; what an Apple chip draws in all says nothing."""


def in_order(shares: Mapping[str, Mapping[str, float | str]]) -> dict[str, dict[str, float | str]]:
    """Return shares by which no device sustains less than a lesser one of its design.

    What two devices were measured to be beyond their data sheets is partly their hosts' and their
    tables'; a device that is better in every figure can do what the other can, on each of its
    cores.

    Args:
        shares: By key of the device.
    """
    sheets = {spec.key: spec for spec in devices() if spec.kind not in (*ACCELERATORS, "cpu")}
    ordered = {key: dict(of) for key, of in shares.items()}
    for key, spec in sheets.items():
        lesser = [other for other in sheets.values() if at_least(spec, other)]
        for name in PEAKS:
            least = [
                float(shares[other.key][name]) * _carried(spec, other, name) for other in lesser
            ]
            ordered[key][name] = _short(max(least))
    return ordered


def _carried(spec: DeviceSpec, other: DeviceSpec, name: str) -> float:
    """Return how much of a lesser device's share a better one has at least."""
    smaller = PEAKS[name](other) / PEAKS[name](spec)
    cores = 1.0 if name == "bandwidth" else tile_cores(spec) / tile_cores(other)
    return min(1.0, smaller * cores)


def at_least(spec: DeviceSpec, other: DeviceSpec) -> bool:
    """Say whether a device has all that another of its design has, by the data sheets."""
    if (spec.vendor, spec.architecture, spec.kind) != (
        other.vendor,
        other.architecture,
        other.kind,
    ):
        return False
    more = ("tdp_w", "cores", "cache_bytes")
    pairs = [(getattr(spec, name) or 0, getattr(other, name) or 0) for name in more]
    pairs += [(peak_of(spec), peak_of(other)) for peak_of in PEAKS.values()]
    return all(one >= least for one, least in pairs)


def _full_peak(spec: DeviceSpec) -> float:
    return spec.fp32_matrix_flops or _vector_peak(spec)


def _vector_peak(spec: DeviceSpec) -> float:
    return spec.fp32_flops or spec.half_flops or 1.0


PEAKS: Mapping[str, Callable[[DeviceSpec], float]] = {
    "half": lambda spec: spec.half_flops or _vector_peak(spec),
    "tf32": lambda spec: spec.tf32_flops or _full_peak(spec),
    "full": _full_peak,
    "vector": _vector_peak,
    "bandwidth": lambda spec: spec.bandwidth or 1.0,
}
"""What each share is a share of."""


def _shares(law: Law, fitting: Fitting, spec: DeviceSpec) -> dict[str, float | str]:
    effect = law.common + torch.tensor([0.0, 1.0, 0.0]) * law.lanes * doublings_of_lanes(spec)
    if spec.vendor in fitting.vendors:
        effect = effect + law.vendor[fitting.vendors.index(spec.vendor)]
    if spec.architecture in fitting.architectures:
        effect = effect + law.architecture[fitting.architectures.index(spec.architecture)]
    effect = effect + likeness(spec, fitting.devices) @ law.device
    matrix, vector, bandwidth = effect.exp().tolist()
    fp32 = spec.fp32_flops or spec.half_flops or 1e12
    plain = spec.fp32_matrix_flops or fp32

    def share(peak: float, *, on_matrix: bool) -> float:
        fed = law.power_at(peak, spec, on_matrix=on_matrix) if spec.kind in ALONE else 1.0
        return fed * (matrix if on_matrix else vector)

    half, tf32 = spec.half_flops or fp32, spec.tf32_flops
    # Who publishes a peak in 16 bits alone has nothing but a matrix engine.
    on_matrix = half > ON_MATRIX_FROM * plain or not spec.fp32_flops
    full = share(plain, on_matrix=False)
    rounded = share(tf32, on_matrix=True) * law.scalars["tf32"].sigmoid().item() if tf32 else full
    return {
        "half": _short(share(half, on_matrix=on_matrix)),
        "tf32": _short(rounded),
        "full": _short(full),
        "vector": _short(share(fp32, on_matrix=False)),
        "bandwidth": _short(bandwidth),
        "evidence": _evidence(fitting, spec),
    }


def _is_known(fitting: Fitting, spec: DeviceSpec) -> bool:
    """Say whether more than one product of a device was measured, or of one with its figures."""
    return any(
        key == spec.key or _figures(find_device(key)) == _figures(spec)
        for key in fitting.well_known_devices
    )


def _figures(spec: DeviceSpec) -> tuple[object, ...]:
    peaks = spec.fp32_flops, spec.half_flops, spec.bandwidth
    return spec.architecture, spec.cores, spec.tdp_w, *peaks


def _evidence(fitting: Fitting, spec: DeviceSpec) -> str:
    if _is_known(fitting, spec):
        return KNOWN_DEVICE
    kin = {find_device(key).architecture for key in fitting.well_known_devices}
    return SPECS_ONLY if spec.architecture in kin else UNKNOWN_ARCHITECTURE


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def errors(law: Law, fitting: Fitting) -> Tensor:
    """Return (R,) log of forecast over fact, without any framework's offset."""
    with torch.no_grad():
        points = law.at_points(fitting.static).log()
        return points[fitting.static.points.row_point] - fitting.static.target


def main() -> None:
    """Fit to everything and write the parameters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    fitting = gather(read_rows(given.measured))
    law = fitting.law(steps=given.steps)
    held_out = json.loads(ACCURACY.read_text())["rows"]
    spread = {
        KNOWN_DEVICE: held_out["families"]["spread"],
        SPECS_ONLY: held_out["devices"]["spread"],
        # Most transformers' rows are of AMD's devices, whose architectures stand alone in the
        # tables. No device that nothing like was measured of is known better than one with kin.
        UNKNOWN_ARCHITECTURE: max(held_out[name]["spread"] for name in ("devices", "transformers")),
        LANGUAGE_MODELS: json.loads(LARGE_MODELS.read_text())["spread"],
    }
    parameters = to_json(law, fitting, spread)
    parameters["devices"] = in_order(parameters["devices"])
    accelerators.correct(parameters, given.measured)
    OUT.write_text(json.dumps(parameters, indent=1) + "\n")
    found = errors(law, fitting).abs()
    for source in sorted(WEIGHTS):
        here = found[torch.tensor([source_of(row) == source for row in fitting.rows])]
        if len(here):
            print(f"{source or 'operations':12} n {len(here):6} median {here.median():.3f}")


if __name__ == "__main__":
    main()
