"""Fit the law of kernel times to the random networks that were timed on this machine's CPU.

    .venv/bin/python calibration/cpu_steps.py
    .venv/bin/python calibration/cpu_fit.py            # writes forecast/cpu_parameters.json

The law is that of GPUs: what a kind of kernel reaches of the processor's own measured peaks. Five
folds of networks that were left out say how well it forecasts, and give the spread.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import law as gpu_law
from cpu_steps import Case, cases
from fit import law_to_json
from law import Law, Static, fit, prepare
from measured_rows import StepRow
from points import UPDATE_CALLS, make_points
from traintime.api.machine import machine
from traintime.forecast.device_parameters import (
    KNOWN_DEVICE,
    MEASURED_HERE,
    RUNNING,
    SPECS_ONLY,
)
from traintime.forecast.intervals import conformal_sigma
from traintime.forecast.own_cpu import spec_of_profile
from traintime.workload.capture import Subject, capture
from traintime.workload.kernels import KernelGraph

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "traintime" / "forecast" / "cpu_parameters.json"
FOLDS = 5
START = {
    "bytes_at_start": math.log(1e5),
    "rows_at_half": math.log(8.0),
    "columns_at_half": math.log(8.0),
    "inner_at_half": math.log(8.0),
    "waves_at_half": math.log(0.05),
    "bandwidth_share": math.log(0.4),
}
SCALARS = {
    "launch_s": math.log(1e-6),
    "call_s": math.log(1.5e-6),
    "update_call_s": math.log(3e-6),
    "dispatch_overlap": -4.0,
    "cache_gain": math.log(2.0),
    "cache_bytes": math.log(4e6),
}


def graph_of(case: Case, precision: str) -> KernelGraph:
    """Return what a random network launches on a CPU."""
    module = case.build().train()
    subject = Subject(case.name, "random", module, lambda b, _: ((case.inputs(b),), {}), ())
    return capture(subject, "amp" if precision == "bf16" else "fp32", target="cpu")


def gather(timed: list[dict[str, Any]]) -> tuple[Static, dict[str, str]]:
    """Return points of every timing, and the family of each network."""
    usual_s = median(one["reference_s"] for one in timed)
    seed = int(timed[0]["case"].split("-")[1])
    by_name = {case.name: case for case in cases(1000, seed)}
    spec = spec_of_profile(machine("cpu", measure=False))
    rows, graphs, families = [], {}, {}
    for one in timed:
        case = by_name[one["case"]]
        families[case.name] = case.family
        numerics = "amp" if one["precision"] == "bf16" else "fp32"
        graphs[case.name, 0, numerics] = graph_of(case, one["precision"])
        rows.append(
            StepRow(
                source="cpu",
                model=case.name,
                family=case.name,
                size=0,
                device=spec.key,
                precision=numerics,
                memory_format="contiguous",
                batch_size=case.batch_size,
                phases="train",
                software="torch",
                # As if the machine had been as fast as it was in the median.
                seconds=one["step_s"] * usual_s / one["reference_s"],
                optimizer=one["optimizer"],
            )
        )
    points = make_points(rows, lambda _: spec, graph_of=graphs.get)
    return prepare(points, [spec.key], [spec.architecture], ["cpu torch"]), families


def main() -> None:
    """Fit, say how well, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    gpu_law.START.update(START)
    gpu_law.SCALARS.update(SCALARS)
    timed = json.loads((HERE / "results" / "cpu_steps.json").read_text())
    static, families = gather(timed)
    num = (static.points.classes, 1, 1, ["cpu torch"])
    rows = static.points.rows
    found = torch.zeros(len(rows))
    names = sorted(families)
    for fold in range(FOLDS):
        out = set(names[fold::FOLDS])
        weights = torch.tensor([row.model not in out for row in rows]).float()
        error = _errors(fit(static, num, weights, steps=given.steps, one_device=True), static)
        inside = weights == 0
        found[inside] = error[inside]
    off = found.abs().expm1()
    print(f"left out: median {off.median():.1%}, p90 {off.quantile(0.9):.1%}, n {len(rows)}")
    for family in sorted(set(families.values())):
        here = torch.tensor([families[row.model] == family for row in rows])
        print(
            f"  {family:12} median {off[here].median():.1%} p90 {off[here].quantile(0.9):.1%} "
            f"bias {found[here].median():+.3f}"
        )
    for precision in ("fp32", "amp"):
        here = torch.tensor([row.precision == precision for row in rows])
        print(f"  {precision:12} median {off[here].median():.1%} bias {found[here].median():+.3f}")
    law = fit(static, num, torch.ones(len(rows)), steps=given.steps, one_device=True)
    print("all fitted: median", f"{_errors(law, static).abs().expm1().median():.1%}")
    parameters = law_to_json(law, static.points.classes)
    shares = dict.fromkeys(("half", "tf32", "full", "vector", "bandwidth"), 1.0)
    adam = UPDATE_CALLS["adam"]
    parameters["update_calls"] = {"sgd": 1.0, "adam": adam, "adamw": adam, "muon": adam}
    parameters["devices"] = {"cpu": shares | {"evidence": MEASURED_HERE}}
    here = max(conformal_sigma(found.tolist()), _spread_of_unseen_models())
    parameters["spread"] = {
        MEASURED_HERE: here,
        KNOWN_DEVICE: here,
        SPECS_ONLY: UNKNOWN_CPU,
        RUNNING: _spread_after_steps(),
    }
    parameters["sources"] = [f"{len(names)} random networks on one processor, cpu_steps.py"]
    OUT.write_text(json.dumps(parameters, indent=1) + "\n")


def _spread_of_unseen_models() -> float:
    """Return how far forecasts were off at another time: the machine's own changes are in it."""
    return json.loads(UNSEEN.read_text())["spread"] if UNSEEN.exists() else 0.0


def _spread_after_steps() -> float:
    """Return how far an epoch was off what the first ten steps of it said."""
    answers = json.loads(UNSEEN.read_text())["answers"]
    sigma = conformal_sigma(math.log(a["forecast_epoch_s"] / a["epoch_s"]) for a in answers)
    return float(f"{sigma:.4g}")


UNSEEN = HERE.parent / "benchmarks" / "results" / "forecast_here.json"
UNKNOWN_CPU = 0.5
"""σ for a processor known by its data sheet alone: not measured, for want of a second processor."""


def _errors(law: Law, static: Static) -> Tensor:
    with torch.no_grad():
        return law.at_points(static).log()[static.points.row_point] - static.target


if __name__ == "__main__":
    main()
