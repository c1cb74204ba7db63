"""Forecasts for this machine's CPU against the steps, epochs and memory of 20 unseen models.

    python benchmarks/cpu_models.py           # the truth, on a quiet machine
    python benchmarks/forecast_here.py        # what would have been forecast
    python benchmarks/forecast_here.py --only memory    # times as they were

Nothing was fitted to these models. Each is captured without computing and forecast from what the
processor sustained right before; then again as if ten steps had been seen. Memory is forecast
from the capture alone. Writes results/forecast_here.json.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import measured_on
from traintime.forecast.asked_job import sample_bytes
from traintime.forecast.device_memory import CPU_HELD_SHARE, MemoryUse, context_bytes
from traintime.forecast.intervals import conformal_quantile
from traintime.forecast.own_cpu import spec_of_processor
from traintime.forecast.processor_parameters import ProcessorParameters, processor_parameters
from traintime.forecast.processor_step import predict_processor_step, sized_for_processor
from traintime.hardware.devices import DeviceSpec
from traintime.hardware.machine import Machine, detect_machine
from traintime.hardware.processor import ProcessorRates
from traintime.ledger.paths import cache_folder
from traintime.workload.capture import capture
from traintime.workload.kernels import KernelGraph
from traintime.workload.sample import Sample
from unseen_models import MODELS, subject

RESULTS = Path(__file__).parent / "results"
Z80 = NormalDist().inv_cdf(0.9)
BY_NAME = {model.name: model for model in MODELS}
WARM_STEPS = 3
"""Of the first ten, these warm caches and allocators and do not count."""


@dataclass(frozen=True)
class Answer:
    """One case, forecast and fact; memory is what the process holds beyond its imports."""

    model: str
    family: str
    precision: str
    batch_size: int
    step_s: float
    forecast_step_s: float
    epoch_s: float
    forecast_epoch_s: float
    epoch_spread: float
    memory_bytes: float
    forecast_memory_bytes: float
    memory_sigma: float
    tensor_bytes: float
    flops_over_peak_s: float
    hour: str


def main() -> None:
    """Forecast every measured case, print the table and write the result."""
    given = _arguments()
    measured = json.loads(given.truth.read_text())
    if given.only:
        result = _memory_anew(json.loads(given.out.read_text()), measured["cases"])
    else:
        before = json.loads(given.out.read_text()) if given.out.exists() else {}
        result = _all_anew(measured) | {"after_ten_steps": _with_earlier(before, measured)}
    measured_on.write(given.out, result)
    for row in result["rows"]:
        found = row["found"]
        print(
            f"{row['title']}: median {found['median']:.1%} p90 {found['p90']:.1%} {row['inside']}"
        )
    print(*result["notes"], sep="\n")


def _all_anew(measured: dict[str, Any]) -> dict[str, Any]:
    parameters = processor_parameters()
    answers = [_answer(case, parameters) for case in measured["cases"]]
    return {
        "measured_on": measured["measured_on"],
        "answers": [asdict(answer) for answer in answers],
        "spread": float(f"{_width(answers) / Z80:.4g}"),
        "rows": [_steps(answers), _after_ten(answers), _memory(answers)],
        "notes": [_hours(answers), _families(answers), _worst(answers), _baseline(answers)],
    }


def _with_earlier(before: dict[str, Any], measured: dict[str, Any]) -> dict[str, list[float]]:
    """Return log(forecast / actual) of epochs after ten steps, by when they were measured.

    How steady a shared machine is changes from hour to hour, so earlier hours count as well.
    """
    hours: dict[str, list[float]] = {}
    for case in measured["cases"]:
        error = math.log(_epoch_after_ten(case) / case["epoch_s"])
        hours.setdefault(case["hour"], []).append(float(f"{error:.4g}"))
    return before.get("after_ten_steps", {}) | hours


def _epoch_after_ten(case: dict[str, Any]) -> float:
    return median(case["first_steps_s"][WARM_STEPS:]) * case["epoch_steps"]


def _memory_anew(before: dict[str, Any], cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a result with its times as they were.

    Raises:
        ValueError: The result is of other cases.
    """
    answers = [
        Answer(**{**old, **_memory_of(graph_of(case["model"], case["precision"]), case)})
        for old, case in zip(before["answers"], cases, strict=True)
    ]
    *times, _ = before["rows"]
    return before | {"answers": list(map(asdict, answers)), "rows": [*times, _memory(answers)]}


def _answer(case: dict[str, Any], parameters: ProcessorParameters) -> Answer:
    batch, half = case["batch_size"], case["precision"] == "bf16"
    graph, spec = graph_of(case["model"], case["precision"]), _spec(case)
    precision = "amp" if half else "fp32"
    step = predict_processor_step(
        graph,
        sized_for_processor(graph, batch, 1.0, precision, parameters),
        spec,
        parameters,
        optimizer=case["optimizer"],
    )
    flops = graph.flops(batch)
    peak = spec.half_flops if half else spec.fp32_flops
    return Answer(
        model=case["model"],
        family=case["family"],
        precision=case["precision"],
        batch_size=batch,
        step_s=case["step_median_s"],
        forecast_step_s=step.seconds,
        epoch_s=case["epoch_s"],
        forecast_epoch_s=_epoch_after_ten(case),
        epoch_spread=case["epoch_spread"],
        flops_over_peak_s=flops / (peak or math.inf),
        hour=case["hour"],
        **_memory_of(graph, case),
    )


def _spec(case: dict[str, Any]) -> DeviceSpec:
    """Return the processor as it was right before a case."""
    return spec_of_processor(_machine(), ProcessorRates(**case["processor"]))


@cache
def _machine() -> Machine:
    return detect_machine(cache_folder())


@cache
def graph_of(model: str, precision: str) -> KernelGraph:
    """Return what a model launches on a CPU."""
    numerics = "amp" if precision == "bf16" else "fp32"
    return capture(subject(BY_NAME[model]), numerics, target="cpu")


def _memory_of(graph: KernelGraph, case: dict[str, Any]) -> dict[str, float]:
    """Return what an answer says of memory, as it is forecast for a job of the same sizes.

    A process's memory is forecast with its imports, and was measured beyond them.
    """
    batch = case["batch_size"]
    spec = _spec(case)
    samples, _ = BY_NAME[case["model"]].inputs(1)
    use = MemoryUse(
        graph=graph,
        size=1.0,
        sample_bytes=sample_bytes(
            Sample(tuple(samples.shape[1:]), tokens=not samples.is_floating_point())
        ),
        precision="fp32" if graph.numerics == "fp32" else "amp",
        optimizer=case["optimizer"],
        accumulates=False,
        num_devices=1,
        spec=spec,
    ).with_heap(batch)
    return {
        "memory_bytes": case["peak_memory_bytes"],
        "forecast_memory_bytes": use.peak(batch) - context_bytes(spec),
        "memory_sigma": use.sigma,
        "tensor_bytes": use.tensors(batch),
    }


def _summary(errors: Sequence[float]) -> dict[str, float]:
    ordered = sorted(errors)
    return {
        "median": median(ordered),
        "p90": ordered[int(0.9 * (len(ordered) - 1))],
        "mean": sum(ordered) / len(ordered),
        "n": len(ordered),
    }


def _off(forecast: float, actual: float) -> float:
    return abs(forecast / actual - 1)


def _off_log(answer: Answer) -> float:
    return abs(math.log(answer.forecast_step_s / answer.step_s))


def _width(answers: Sequence[Answer], without: str = "") -> float:
    """Return the half-width that covers 80 % of the errors, but for those of a family."""
    return conformal_quantile(_off_log(a) for a in answers if a.family != without)


def _steps(answers: Sequence[Answer]) -> dict[str, Any]:
    inside = [_off_log(a) <= _width(answers, a.family) for a in answers]
    return {
        "title": "a step of 20 models never run here",
        "n": len(answers),
        "found": _summary([_off(a.forecast_step_s, a.step_s) for a in answers]),
        "inside": f"{sum(inside) / len(inside):.0%}",
        "goal": "8 % · 20 %",
        "beside": "FLOP / peak: " + _range([a.step_s / a.flops_over_peak_s for a in answers]),
    }


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.1f}-{max(values):.1f} × too short"


def _after_ten(answers: Sequence[Answer]) -> dict[str, Any]:
    spread = _summary([a.epoch_spread for a in answers])
    return {
        "title": "an epoch after ten steps",
        "n": len(answers),
        "found": _summary([_off(a.forecast_epoch_s, a.epoch_s) for a in answers]),
        "inside": "–",
        "goal": "3 % · 10 %",
        "beside": f"longest - shortest of 3 epochs: {spread['median']:.1%} · {spread['p90']:.1%}",
    }


def _memory(answers: Sequence[Answer]) -> dict[str, Any]:
    inside = [
        abs(math.log(a.forecast_memory_bytes / a.memory_bytes)) <= Z80 * a.memory_sigma
        for a in answers
    ]
    alone = median([_off(a.tensor_bytes, a.memory_bytes) for a in answers])
    one_share = median(
        [_off((1 + CPU_HELD_SHARE) * a.tensor_bytes, a.memory_bytes) for a in answers]
    )
    return {
        "title": "peak memory of a step on the CPU",
        "n": len(answers),
        "found": _summary([_off(a.forecast_memory_bytes, a.memory_bytes) for a in answers]),
        "inside": f"{sum(inside) / len(inside):.0%}",
        "goal": "5 % median",
        "beside": f"live tensors alone: {alone:.0%}; one share held beyond them: {one_share:.0%}",
    }


def _hours(answers: Sequence[Answer]) -> str:
    def text(hour: str) -> str:
        here = [a for a in answers if a.hour == hour]
        steps = _summary([_off(a.forecast_step_s, a.step_s) for a in here])
        epochs = _summary([_off(a.forecast_epoch_s, a.epoch_s) for a in here])
        return f"on {hour[:10]} {_pair(steps)} and {_pair(epochs)}"

    hours = sorted({a.hour for a in answers})
    return f"A step, and an epoch after ten steps, by the hour: {'; '.join(map(text, hours))}."


def _pair(found: dict[str, float]) -> str:
    return f"{found['median']:.1%} · {found['p90']:.1%}"


def _families(answers: Sequence[Answer]) -> str:
    def text(name: str, test: Callable[[Answer], bool]) -> str:
        found = _summary([_off(a.forecast_step_s, a.step_s) for a in answers if test(a)])
        return f"{name} {_pair(found)}"

    families = sorted({a.family for a in answers})
    parts = [text(f, lambda a, f=f: a.family == f) for f in families]
    parts += [text(p, lambda a, p=p: a.precision == p) for p in ("fp32", "bf16")]
    return "Error of a step by family and precision: " + "; ".join(parts) + "."


def _worst(answers: Sequence[Answer]) -> str:
    ranked = sorted(answers, key=lambda a: -abs(math.log(a.forecast_step_s / a.step_s)))
    named = [
        f"{a.model} {a.precision} batch {a.batch_size} "
        f"({a.forecast_step_s * 1e3:.1f} for {a.step_s * 1e3:.1f} ms)"
        for a in ranked[:8]
    ]
    return "Largest errors of a step: " + ", ".join(named) + "."


def _baseline(answers: Sequence[Answer]) -> str:
    factor = median([a.step_s / a.flops_over_peak_s for a in answers])
    errors = [_off(a.flops_over_peak_s * factor, a.step_s) for a in answers]
    found = _summary(errors)
    return (
        "FLOP over the peak with the one factor that suits these models best errs by "
        f"{found['median']:.0%} · {found['p90']:.0%}."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--truth", type=Path, default=RESULTS / "cpu_models.json")
    parser.add_argument("--out", type=Path, default=RESULTS / "forecast_here.json")
    parser.add_argument("--only", choices=["memory"], help="leave times in --out as they were")
    return parser.parse_args()


if __name__ == "__main__":
    main()
