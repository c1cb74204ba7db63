"""Forecast against fact on this machine: time of a step and of the whole job.

    python benchmarks/forecast_check.py            # a few minutes
    python benchmarks/forecast_check.py --quick    # without the larger networks

Every case is forecast from the machine's measured rates, then by a few steps tried right before it
is trained, and then run. The probes hold LeNet and an MLP as whole networks, so the small cases are
near what was measured; the large networks are not.

The spread of log(actual / forecast) is what `SIGMA` in `forecast/predict.py` is set by, for the
rates, and `TRIAL_SIGMA` in `forecast/trial.py`, for the steps.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import measured_on
import traintime
from traintime.recipe import read_recipe

SMALL = (
    ("mlp", "mnist", "batch_size=256 epochs=3"),
    ("mlp", "mnist", "batch_size=64 epochs=2"),
    ("mlp", "fashion-mnist", "batch_size=128 hidden=256,128 optimizer=sgd epochs=3"),
    ("mlp", "cifar10", "batch_size=256 optimizer=adamw epochs=2"),
    ("lenet", "mnist", "batch_size=256 epochs=2"),
    ("lenet", "mnist", "batch_size=64 epochs=1"),
    ("lenet", "fashion-mnist", "batch_size=128 precision=fp32 epochs=1"),
    ("lenet", "fashion-mnist", "batch_size=256 convolution=native epochs=1"),
    ("lenet", "fashion-mnist", "batch_size=256 memory_format=contiguous precision=fp32 epochs=1"),
    ("lenet", "cifar10", "batch_size=256 epochs=2"),
    ("lenet", "cifar10", "batch_size=128 activation=gelu optimizer=adamw epochs=1"),
)
LARGE = (
    ("resnet9", "cifar10", "batch_size=64 train_samples=6656 epochs=1"),
    ("resnet9", "mnist", "batch_size=64 train_samples=6656 precision=fp32 epochs=1"),
    ("resnet18", "cifar10", "batch_size=32 train_samples=3328 epochs=1"),
    ("resnet18", "cifar10", "batch_size=32 train_samples=3328 precision=fp32 epochs=1"),
    ("vgg11", "cifar10", "batch_size=64 train_samples=6656 epochs=1"),
    ("vgg11", "mnist", "batch_size=128 train_samples=13312 optimizer=sgd epochs=1"),
)


@dataclass(frozen=True)
class Case:
    """One job, forecast and run.

    Args:
        job: What it was.
        rates_step_s: Of a step, by the machine's rates alone.
        forecast_step_s: By the steps that were tried.
        actual_step_s: Median over the windows of the run.
        forecast_total_s: Median of the forecast.
        actual_total_s: What the run took.
        inside: Whether the total lay inside the 80 % interval.
    """

    job: str
    rates_step_s: float
    forecast_step_s: float
    actual_step_s: float
    forecast_total_s: float
    actual_total_s: float
    inside: bool


def main() -> None:
    """Run every case, print the table and write it."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime"])
    traintime.machine(measure=True)
    cases = [_run(*case) for case in SMALL + (() if given.quick else LARGE)]
    console = Console(width=140)
    console.print(_table(cases))
    summary = _summary(cases)
    console.print(summary, highlight=False)
    console.print(measured_on.in_words(facts), highlight=False)
    result = {"measured_on": facts, "summary": summary, "cases": [asdict(case) for case in cases]}
    measured_on.write(given.out, result)


def _run(model: str, data: str, words: str) -> Case:

    recipe = read_recipe([f"model={model}", f"data={data}", *words.split()])
    result = traintime.train(recipe)
    traintime.delete_run(result.run)
    step = result.step_time_s["median"] if result.step_time_s else math.nan
    return Case(
        job=f"{model} {data} {words} ({result.forecast.execution})",
        rates_step_s=result.forecast.uncorrected_step_s,
        forecast_step_s=result.forecast.step_time_s.median,
        actual_step_s=step,
        forecast_total_s=result.forecast.total_s.median,
        actual_total_s=result.total_s,
        inside=result.total_s in result.forecast.total_s,
    )


def _summary(cases: list[Case]) -> dict[str, float]:
    rates = [math.log(case.actual_step_s / case.rates_step_s) for case in cases]
    steps = [math.log(case.actual_step_s / case.forecast_step_s) for case in cases]
    totals = [math.log(case.actual_total_s / case.forecast_total_s) for case in cases]
    return {
        "cases": len(cases),
        **_errors("rates_step", rates),
        **_errors("step", steps),
        "total_median_error": statistics.median(abs(math.expm1(error)) for error in totals),
        "total_coverage_of_80": sum(case.inside for case in cases) / len(cases),
    }


def _errors(name: str, logs: list[float]) -> dict[str, float]:
    return {
        f"{name}_median_error": statistics.median(abs(math.expm1(error)) for error in logs),
        f"{name}_log_bias": statistics.mean(logs),
        f"{name}_log_rms": math.sqrt(statistics.mean(error**2 for error in logs)),
    }


def _table(cases: list[Case]) -> Table:
    table = Table(title="Forecast against fact")
    table.add_column("job")
    for heading in (
        "step by rates",
        "step forecast",
        "step actual",
        "ratio",
        "total forecast",
        "total actual",
    ):
        table.add_column(heading, justify="right")
    for case in cases:
        table.add_row(
            case.job,
            f"{case.rates_step_s * 1e3:.2f} ms",
            f"{case.forecast_step_s * 1e3:.2f} ms",
            f"{case.actual_step_s * 1e3:.2f} ms",
            f"{case.actual_step_s / case.forecast_step_s:.2f}",
            f"{case.forecast_total_s:.1f} s",
            f"{case.actual_total_s:.1f} s{'' if case.inside else ' !'}",
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out the larger networks")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "forecast_check.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
