"""How near forecasts of large language models come to trainings that nothing was fitted to.

The law is fitted anew without each table that it was fitted to, and forecasts that table's rows;
the intervals of a table are as wide as the errors of the others ask for.

    python benchmarks/large_models.py MEASURED            # folder of the public tables

Each row is forecast as `traintime forecast` answers it: its step, its interval and whether it
fits; all of them ran, so all do. Beside it stand the two ways people reckon: the model's FLOP over
the peak times one share of it, which is the median of the other sources' rows, and the roofline of
the data sheet, each with perfect scaling. Writes results/large_models.json.

The graphs have been captured before: see large_model_graphs.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import measured_on

sys.path.insert(0, str(Path(__file__).parent.parent / "calibration"))

from fit import gather, in_order, read_rows, source_of, to_json
from graphs import load_graph, refuse_if_old
from large_model_rows import (
    LEFT_OUT,
    NANOGPT_STEP_S,
    LargeRow,
    large_model_rows,
    numerics_of,
)
from large_models_page import section
from large_steps import SOURCES, STANDARD_LENGTH, UPDATE_BYTES
from traintime.forecast.asked_job import DeviceJob, SizedModel, sized_model
from traintime.forecast.device_forecast import DeviceForecast
from traintime.forecast.device_job import forecast_on_device
from traintime.forecast.device_parameters import (
    LANGUAGE_MODELS,
    Parameters,
    fitted_parameters,
    read_parameters,
)
from traintime.forecast.intervals import conformal_sigma
from traintime.hardware.devices import DeviceCount, DeviceSpec, find_device
from traintime.workload.kernels import KernelGraph, Numerics
from traintime.workload.sample import Sample
from traintime.workload.shipped import shipped_graph

UP_TO = (2, 4, 8, 16, 64, 512)
LONGER_THAN = 8192
"""Tokens of a sample from which most of its arithmetic is attention's."""
SHOWN = 12
FEWEST = 20
"""Rows that factors of parts are told from."""


@dataclass(frozen=True)
class Answer:
    """A row with what was forecast of it.

    Args:
        row: Measured.
        forecast: Of the same job.
        roofline_s: Of a step, by the data sheet and with perfect scaling.
    """

    row: LargeRow
    forecast: DeviceForecast
    roofline_s: float

    @property
    def log_error(self) -> float:
        """Logarithm of the forecast over the measured step."""
        return math.log(self.forecast.step_time_s.median / self.row.seconds)


def main() -> None:
    """Forecast every row, print the page's part and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "large_models.json")
    given = parser.parse_args()
    rows, laws = large_model_rows(given.measured), laws_without(given.measured)
    first = [answer(row, laws.get(row.source)) for row in rows]
    answers = [answer(row, _as_wide(laws.get(row.source), row.source, first)) for row in rows]
    result = {
        "measured_on": measured_on.measured_on(["traintime"]),
        "spread": conformal_sigma([one.log_error for one in first]),
        "nanogpt_compiled": nanogpt_compiled(rows),
        **summary_of(answers),
    }
    measured_on.write(given.out, result)
    print("\n\n".join(section(result)))


# Forecasts --------------------------------------------------------------------------------------


def laws_without(measured: Path) -> Mapping[str, Parameters]:
    """Return for each table that the law is fitted to the one that is fitted to all others."""
    fitting, spread = gather(read_rows(measured)), fitted_parameters().spread

    def without(source: str) -> Parameters:
        values = to_json(fitting.law(lambda row: source_of(row) != source), fitting, spread)
        return read_parameters(values | {"devices": in_order(values["devices"])})

    return {source: without(source) for source in SOURCES}


def _as_wide(law: Parameters | None, source: str, answers: Sequence[Answer]) -> Parameters:
    """Return a law whose intervals for language models are told by the other tables' errors."""
    law = law or fitted_parameters()
    others = [one.log_error for one in answers if one.row.source != source]
    return replace(law, spread={**law.spread, LANGUAGE_MODELS: conformal_sigma(others)})


def nanogpt_compiled(rows: Sequence[LargeRow]) -> dict[str, float]:
    """Return a step of nanoGPT compiled over one as it is, as its README has it and as forecast."""
    alone = replace(
        next(row for row in rows if row.source == "nanogpt"), num_devices=1, accumulate=1
    )
    eager, compiled = (
        answer(replace(alone, compiled=how)).forecast.step_time_s.median for how in (False, True)
    )
    told_eager_s, told_compiled_s = NANOGPT_STEP_S
    return {"told": told_compiled_s / told_eager_s, "forecast": compiled / eager}


def answer(row: LargeRow, law: Parameters | None = None) -> Answer:
    """Return the forecast of a row's job, by the law that ships if no other is given."""
    law = law or fitted_parameters()
    device = DeviceCount(find_device(row.device), row.num_devices)
    forecast = forecast_on_device(job_of(row), model_of(row, law), device, law)
    return Answer(row, forecast, roofline_s(row, device.spec))


def job_of(row: LargeRow) -> DeviceJob:
    """Return what would be asked for."""
    return DeviceJob(
        model=row.model,
        sample=Sample((row.length,), tokens=True),
        train_samples=0,
        validation_samples=0,
        epochs=1,
        batch_size=row.batch_size,
        accumulate=row.accumulate,
        optimizer="adamw",
        precision=row.precision,  # pyright: ignore[reportArgumentType]
        memory_format="auto",
        compiled=row.compiled,
        sharding=row.sharding,  # pyright: ignore[reportArgumentType]
        recompute=row.recompute,
    )


def model_of(row: LargeRow, law: Parameters | None = None) -> SizedModel:
    """Return a row's model at its length."""

    def graphs(numerics: Numerics) -> KernelGraph:
        return graph_of(row, numerics)

    return sized_model(graphs, Sample((row.length,), tokens=True), law or fitted_parameters())


def graph_of(row: LargeRow, numerics: Numerics) -> KernelGraph:
    """Return a row's model with as many parameters as the table says: positions differ."""
    graph = _captured(row.model, numerics)
    if row.compiled:
        refuse_if_old(graph)
    return graph if graph.source.startswith("Llama") else _with_parameters(graph, row)


def _with_parameters(graph: KernelGraph, row: LargeRow) -> KernelGraph:
    return replace(graph, parameters=round(row.parameters))


@cache
def _captured(model: str, numerics: Numerics) -> KernelGraph:
    graph = shipped_graph(model, numerics) or load_graph((model, STANDARD_LENGTH, numerics))
    if graph is None:
        sys.exit(f"{model} has not been captured: run python benchmarks/large_model_graphs.py")
    return graph


# Baselines --------------------------------------------------------------------------------------


def roofline_s(row: LargeRow, spec: DeviceSpec) -> float:
    """Return a step by the longer of arithmetic and traffic of each kernel, by the data sheet."""
    numerics = numerics_of(row)
    graph, halved = graph_of(row, numerics), 0.5 if numerics == "fp32" else 1.0
    size, total = row.length / graph.input_shape[0], 0.0
    for kernel in graph.kernels:
        flops, num_bytes, _ = kernel.at(row.micro_batch, size)
        half = kernel.half or numerics == "fp32"
        peak = (spec.half_flops if half else spec.fp32_flops) or math.inf
        seconds = max(flops / peak, halved * num_bytes / (spec.bandwidth or math.inf))
        held = row.recompute and kernel.phase == "forward" and graph.blocks
        times = 2 if held and graph.blocks and graph.blocks.hold(kernel) else 1
        total += times * kernel.count * seconds
    updated = graph.parameters / (row.num_devices if row.sharding == "full" else 1)
    return row.accumulate * total + UPDATE_BYTES * updated / (spec.bandwidth or math.inf)


def ideal_s(row: LargeRow) -> float:
    """Return a step's 6·N·tokens (8·N where blocks compute again) over the whole peak.

    Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
    """
    times = 8 if row.recompute else 6
    peak = find_device(row.device).half_flops or math.inf
    return times * row.parameters * row.tokens / (row.num_devices * peak)


def shares_of_peak(rows: Sequence[LargeRow]) -> Mapping[str, float]:
    """Return for each source the median share of the peak that the other sources' rows reach."""
    return {
        source: median(ideal_s(row) / row.seconds for row in rows if row.source != source)
        for source in {row.source for row in rows}
    }


# Summaries --------------------------------------------------------------------------------------


GROUPS: Mapping[str, Callable[[Answer], str]] = {
    "source": lambda one: one.row.source,
    "device": lambda one: f"{one.row.source} on {one.row.device}",
    "model": lambda one: one.row.model.partition("-a")[0],
    "devices": lambda one: next(f"up to {n:>3}" for n in UP_TO if one.row.num_devices <= n),
    "kept": lambda one: "computed again in blocks" if one.row.recompute else "all activations kept",
    "length": lambda one: (
        f"more than {LONGER_THAN:,} tokens"
        if one.row.length > LONGER_THAN
        else f"up to {LONGER_THAN:,} tokens"
    ),
}


def summary_of(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return all that the page shows."""
    shares = shares_of_peak([one.row for one in answers])

    def by_share(one: Answer) -> float:
        return math.log(ideal_s(one.row) / shares[one.row.source] / one.row.seconds)

    def summarized(some: Sequence[Answer]) -> dict[str, Any]:
        return {
            "law": _errors([one.log_error for one in some])
            | {"coverage_of_80": _share(one.row.seconds in _step(one) for one in some)},
            "share of peak": _errors([by_share(one) for one in some]),
            "roofline": _errors([math.log(one.roofline_s / one.row.seconds) for one in some]),
            "called not to fit": sum(not one.forecast.fits for one in some),
            "n": len(some),
        }

    return {
        "left_out": LEFT_OUT,
        "shares_of_peak": dict(sorted(shares.items())),
        "all": summarized(answers),
        "by": {
            heading: {
                name: summarized([one for one in answers if group(one) == name])
                for name in sorted(set(map(group, answers)))
            }
            for heading, group in GROUPS.items()
        },
        "factors": {
            name: factors_of([one for one in answers if GROUPS["device"](one) == name])
            for name in sorted(set(map(GROUPS["device"], answers)))
            if sum(GROUPS["device"](one) == name for one in answers) >= FEWEST
        },
        "stated_memory": _stated_memory(),
        "filled": {
            source: _quantiles([_filled(one) for one in answers if one.row.source == source])
            for source in sorted(shares)
        },
        "worst": [
            _told(one) for one in sorted(answers, key=lambda one: -abs(one.log_error))[:SHOWN]
        ],
        "called_not_to_fit": [_told(one) for one in answers if not one.forecast.fits],
        "actual_and_forecast_s": [[one.row.seconds, _step(one).median] for one in answers],
    }


PARTS = {
    "matrix product": "products",
    "batched product": "batched products",
    "attention": "attention in one kernel",
    "waiting for dispatch": "waiting for dispatch",
}
"""Kinds that a step is parted into; all others but communication are limited by traffic."""
TRAFFIC = "traffic"
NOTICEABLE = 0.02
"""Share of some step from which a part's factor can be told."""


def factors_of(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what each part of a step would have to be multiplied by, by least squares.

    What is computed again is spread over the parts as they are, since it is a forward of each.
    """
    names = [*PARTS.values(), TRAFFIC]
    rows = np.array([[_parts_of(one)[name] for name in names] for one in answers])
    kept = [place for place in range(len(names)) if rows[:, place].max() > NOTICEABLE]
    found = np.linalg.lstsq(rows[:, kept], np.ones(len(answers)), rcond=None)[0]
    return {
        "n": len(answers),
        "factors": {names[place]: float(value) for place, value in zip(kept, found, strict=True)},
        "rest": float(np.median(np.abs(rows[:, kept] @ found - 1))),
    }


def _parts_of(one: Answer) -> Mapping[str, float]:
    """Return forecast seconds of each part over measured ones without what is exchanged."""
    seconds = dict.fromkeys((*PARTS.values(), TRAFFIC), 0.0)
    kinds = {share.kind: share.seconds for share in one.forecast.step_by_kind}
    measured = one.row.seconds - kinds.pop("communication", 0.0)
    again = kinds.pop("computing again", 0.0)
    for kind, value in kinds.items():
        seconds[PARTS.get(kind, TRAFFIC)] += value
    spread = 1 + again / sum(kinds.values())
    return {name: value * spread / measured for name, value in seconds.items()}


STATED = LargeRow(
    source="litgpt",
    model="tinyllama-1.1b",
    parameters=1_100_048_384,
    length=512,
    device="a10g",
    num_devices=1,
    micro_batch=4,
    accumulate=8,
    precision="half",
    sharding="none",
    recompute=False,
    compiled=False,
    seconds=1.0,
)
"""Fine-tuning of all weights in config_hub/finetune/tiny-llama/full.yaml; how long it took is told
of texts of any length, so its seconds are not compared."""
STATED_BYTES = 14.10e9


def _stated_memory() -> dict[str, float]:
    """Return the memory that litgpt states, of tensors alone, and what is forecast of it."""
    parts = dict(answer(STATED).forecast.memory_by_part)
    return {"stated_bytes": STATED_BYTES, "forecast_bytes": sum(parts.values()) - parts["context"]}


def _filled(one: Answer) -> float:
    """Return the forecast peak over the device's memory."""
    return one.forecast.peak_memory_bytes.median / (one.forecast.capacity_bytes or math.inf)


def _quantiles(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[int(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9)]


def _step(one: Answer) -> Any:
    return one.forecast.step_time_s


def _errors(logs: Sequence[float]) -> dict[str, float]:
    off = sorted(abs(math.expm1(log)) for log in logs)
    return {
        "median": median(off),
        "p90": off[math.ceil(0.9 * (len(off) - 1))],
        "bias": median(logs),
    }


def _share(flags: Any) -> float:
    kept = list(flags)
    return sum(kept) / len(kept)


def _told(one: Answer) -> dict[str, Any]:
    row, forecast = one.row, one.forecast
    return {
        "model": row.model,
        "length": row.length,
        "device": f"{row.device}x{row.num_devices}",
        "micro_batch": row.micro_batch,
        "recompute": row.recompute,
        "log_error": one.log_error,
        "peak_gib": forecast.peak_memory_bytes.median / 2**30,
        "chance_it_fits": forecast.chance_it_fits,
    }


if __name__ == "__main__":
    main()
