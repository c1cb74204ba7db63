"""Fit the law of a processor's kernels to what was timed on this machine's CPU.

    .venv/bin/python calibration/cpu_steps.py       # networks; more with --seed 7 --out
    .venv/bin/python calibration/cpu_layers.py      # single layers; see there for those of a group
    MODELS=benchmarks/.environments/models/bin/python
    $MODELS calibration/cpu_architectures.py        # published architectures
    $MODELS calibration/cpu_fit.py                  # writes forecast/processor_parameters.json

The law (`forecast/processor_law.py`) is of what a kind of kernel reaches of the processor's own
measured rates. Five folds of networks and layers that were left out say how well it forecasts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

import cpu_architectures
import cpu_layers
import cpu_steps
from cpu_law import (
    OF_PRODUCTS,
    OPTIMIZER_OPS,
    OPTIMIZER_VALUES,
    START,
    CpuLaw,
    Timings,
    fit,
    gather,
    plain,
)
from cpu_steps import Timed
from random_layers import MAKERS, layer
from traintime.forecast.device_parameters import KNOWN_DEVICE, MEASURED_HERE, RUNNING, SPECS_ONLY
from traintime.forecast.intervals import conformal_sigma
from traintime.forecast.processor_parameters import IN_HALF
from traintime.hardware.processor import typical
from traintime.workload.kernels import PRODUCT_KINDS, KernelGraph

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "traintime" / "forecast" / "processor_parameters.json"
UNSEEN = HERE.parent / "benchmarks" / "results" / "forecast_here.json"
LEFT_OUT = HERE / "results" / "cpu_left_out.json"
FOLDS = 5
AGREEING = (0.45, 1.25)
"""Seconds of all operations, and of the update, relative to those of a step timed apart."""
UNKNOWN_CPU = 0.5
"""σ for a processor known by its data sheet alone: not measured, for want of a second processor."""


@cache
def _networks(seed: int, group: str) -> dict[str, cpu_steps.Case]:
    return {case.name: case for case in cpu_steps.cases(1000, seed, group)}


@cache
def _architectures() -> dict[str, cpu_steps.Case]:
    return {case.name: case for case in cpu_architectures.cases()}


def graph_of(one: Timed) -> KernelGraph:
    """Return what a timed network or layer launches."""
    if ":" in one.case:
        return cpu_steps.graph_of(_architectures()[one.case], one.precision)
    group, seed, number = one.case.split("-")
    if group in MAKERS:
        return cpu_layers.graph_of(layer(int(seed), int(number), group), one.precision)
    return cpu_steps.graph_of(_networks(int(seed), group)[one.case], one.precision)


def undisturbed(networks: Sequence[Timed]) -> list[Timed]:
    """Return networks whose step agrees with their operations: another program ran else.

    Of very many small operations half a step may be the dispatch.
    """
    low, high = AGREEING
    return [one for one in networks if low < sum(one.ops_s.values()) / one.step_s < high]


def left_out(timings: Timings, steps: int) -> list[float]:
    """Return log(forecast / actual) of every network's step, by fits that did not see it."""
    cases = sorted({one.case for one in timings.timed})
    found = [math.nan] * len(timings.timed)
    for fold in range(FOLDS):
        out = set(cases[fold::FOLDS])
        keep = torch.tensor([one.case not in out for one in timings.timed])
        law = fit(timings, keep, steps=steps)
        with torch.no_grad():
            _, _, step_s = law(timings)
        for place, error in enumerate((step_s / timings.step_s).log().tolist()):
            if not keep[place]:
                found[place] = error
    return found


def summed_up(timed: Sequence[Timed], errors: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return how far steps of networks were off, by family, precision and who drew them."""
    pairs = [(one, error) for one, error in zip(timed, errors, strict=True) if one.optimizer]

    def of(is_meant: Callable[[Timed], bool]) -> dict[str, float]:
        chosen = [error for one, error in pairs if is_meant(one)]
        off = sorted(abs(math.expm1(error)) for error in chosen)
        return {
            "n": len(off),
            "median": _short(median(off)),
            "p90": _short(off[int(0.9 * (len(off) - 1))]),
            "bias": _short(median(chosen)),
        }

    groups = {
        "all": of(lambda _: True),
        "random networks": of(lambda one: ":" not in one.case),
        "published architectures": of(lambda one: ":" in one.case),
    }
    for family in sorted({one.family for one, _ in pairs}):
        groups[family] = of(lambda one, family=family: one.family == family)
    for precision in ("fp32", "bf16"):
        groups[precision] = of(lambda one, precision=precision: one.precision == precision)
    return groups


def to_json(law: CpuLaw) -> dict[str, Any]:
    """Return what the forecast reads."""
    with torch.no_grad():
        classes = {
            f"{name}{IN_HALF if half else ''}": _class(name, numbers)
            for level, names in (("classes", law.names), ("roles", law.roles), ("kinds", law.kinds))
            for half in (False, True)
            for name, numbers in zip(names, law.raw(level, half=half).tolist(), strict=True)
        }
        shared = {name: law.scalar(name).item() for name in law.scalars}
    update_calls, update_bytes = shared.pop("update_calls"), shared.pop("update_bytes")
    return {
        "classes": dict(sorted(classes.items())),
        **{name: _short(value) for name, value in shared.items()},
        "update_calls": {name: _short(update_calls * n) for name, n in OPTIMIZER_OPS.items()},
        "update_bytes": {name: _short(update_bytes * n) for name, n in OPTIMIZER_VALUES.items()},
    }


def _class(name: str, raw: Sequence[float]) -> dict[str, float]:
    numbers = plain(dict(zip(START, torch.tensor(raw, dtype=torch.float64), strict=True)))
    kind = name.split("/")[0]
    names = {"bandwidth_share", "start_s", "value_flops", "grain_values"}
    if kind in PRODUCT_KINDS:
        names = {"bandwidth_share", "start_s", *OF_PRODUCTS}
        names |= {"padding_cost", "side_at_half"} if "convolution" in kind else set()
    return {key: _short(value.item()) for key, value in numbers.items() if key in names}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Fit, say how well, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    results = HERE / "results"
    files = sorted(results.glob("cpu_steps*.json.gz"))
    networks = undisturbed([one for path in files for one in cpu_steps.read(path)])
    layers = [one for group in MAKERS for one in cpu_steps.read(results / f"cpu_{group}.json.gz")]
    timings = gather([*networks, *layers], graph_of)
    errors = left_out(timings, given.steps)
    left = summed_up(timings.timed, errors)
    for name, found in left.items():
        print(f"{name:24}", *(f"{key} {value:+.3g}" for key, value in found.items()))
    LEFT_OUT.write_text(json.dumps(left, indent=1) + "\n")
    law = fit(timings, torch.ones(len(timings.timed), dtype=torch.bool), steps=given.steps)
    of_networks = [error for error, one in zip(errors, timings.timed, strict=True) if one.optimizer]
    cases = {one.case for one in networks}
    drawn = {case for case in cases if ":" not in case}
    here = max(conformal_sigma(of_networks), _unseen()["spread"])
    parameters = to_json(law) | {
        "reference": {
            name: _short(value)
            for name, value in asdict(
                typical([rates for one in timings.timed for rates in one.processor])
            ).items()
        },
        "spread": {
            MEASURED_HERE: _short(here),
            KNOWN_DEVICE: _short(here),
            SPECS_ONLY: UNKNOWN_CPU,
            RUNNING: _spread_after_steps(),
        },
        "sources": [
            f"{len(drawn)} random networks, {len(cases - drawn)} published architectures and "
            f"{len({one.case for one in layers})} random layers on one processor",
        ],
    }
    OUT.write_text(json.dumps(parameters, indent=1) + "\n")


def _unseen() -> dict[str, Any]:
    """Return how far forecasts of 20 known models were off: other networks, at another time."""
    return json.loads(UNSEEN.read_text())


def _spread_after_steps() -> float:
    """Return how far epochs were off what ten steps of each said, in every hour so far."""
    hours = _unseen()["after_ten_steps"].values()
    return _short(conformal_sigma(error for errors in hours for error in errors))


if __name__ == "__main__":
    main()
