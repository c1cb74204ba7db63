"""How near forecasts for several devices come to measurements that they were not fitted to.

    python benchmarks/several_devices.py MEASURED            # folder of the public tables

Every row on several devices is compared with the same job on one device, or on fewer nodes: first
the scaling alone, from what was measured there, then the whole rate as `traintime forecast` gives
it. Every kind of device is left out of the fit of what several devices cost, and of the widths of
its intervals; the law of one device is the shipped one. Beside the law stand perfect scaling and
the constants of Calculon's systems with the buckets of DistributedDataParallel. Writes
results/several_devices.json, whose widths `calibration/parallel.py` ships.

The graphs of the measured models have been captured before: see calibration/graphs.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import measured_on

sys.path.insert(0, str(Path(__file__).parent.parent / "calibration"))

from graphs import load_graph, refuse_if_old
from measured_pairs import EACH, Pair, mlperf_entries, pairs
from parallel import (
    BACKWARD_SHARE,
    WIDTHS,
    chip,
    find_spec,
    fit,
    forecast,
    is_fitted_to,
    unseen,
    with_widths,
)
from several_devices_page import section
from traintime.forecast.asked_job import DeviceJob, SizedGraph, sized_model
from traintime.forecast.data_parallel import (
    Exchange,
    node_devices,
)
from traintime.forecast.device_parameters import fitted_parameters
from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.job_step import JobStep, predict_job_step
from traintime.hardware.devices import DeviceCount
from traintime.units import MIB, Interval
from traintime.workload.kernels import KernelGraph, Numerics
from traintime.workload.sample import Sample

MUCH_BYTES_PER_S = 1e9
"""Gradients over a step on one device from which the exchange is a good part of it."""
UP_TO = (2, 4, 8, 16, 64, 512, 8192)
"""Devices of the groups of pairs that are shown."""


@dataclass(frozen=True)
class Question:
    """One line of the table.

    Args:
        name: How the result calls it.
        title: For people.
        asked: Which pairs are forecast.
    """

    name: str
    title: str
    asked: Callable[[Pair], bool]


def in_one_machine(pair: Pair) -> bool:
    """Say whether a pair is of a machine and of one of its devices, a process for each."""
    return pair.processes == EACH and pair.fewer == 1 and pair.fewer_accumulate == 1


def exchanges_much(pair: Pair) -> bool:
    """Say whether gradients are large beside the work on them."""
    return pair.gradient_bytes / pair.fewer_s > MUCH_BYTES_PER_S


QUESTIONS = (
    Question("machine", "devices of a machine, a process for each", in_one_machine),
    Question(
        "much",
        "of these, gradients of more than 1 GB for a second of work",
        lambda pair: in_one_machine(pair) and exchanges_much(pair),
    ),
    Question(
        "nodes",
        "more nodes against fewer, a process for each device",
        lambda pair: pair.processes == EACH and not in_one_machine(pair),
    ),
    Question(
        "compiled",
        "one process for all devices, steps compiled by XLA",
        lambda pair: pair.processes != EACH and is_fitted_to(pair),
    ),
    Question(
        "dispatched",
        "one process that dispatches for all devices",
        lambda pair: pair.processes != EACH and not is_fitted_to(pair),
    ),
)


def main() -> None:
    """Fit without each kind of device, forecast it, print the tables and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "several_devices.json")
    given = parser.parse_args()
    every = pairs(given.measured)
    fits = left_out(every)
    result: dict[str, Any] = {"measured_on": measured_on.measured_on(["traintime"])}
    result["widths"] = {name: getattr(fits[""], name) for name in WIDTHS}
    result["scaling"] = {q.name: _scaling(q, every, fits) for q in QUESTIONS}
    machines = [pair for pair in every if in_one_machine(pair)]
    entries = [pair for pair in mlperf_entries(given.measured) if pair.num_devices > 1]
    result["rate"] = {
        "machine": _rate("devices of a machine", machines, fits),
        "much": _rate("of these, much exchanged", list(filter(exchanges_much, machines)), fits),
        "mlperf": _rate("MLPerf's ResNet-50, any number", entries, fits, compiled=True),
    }
    measured_on.write(given.out, result)
    print("\n\n".join(section(result)))


def left_out(every: Sequence[Pair]) -> dict[str, Exchange]:
    """Return for each kind of device what was fitted, and how wide, without it; for "" with all."""
    known = [pair for pair in every if is_fitted_to(pair)]
    of_chip = unseen(known) | {"": fit(known)}
    telling = [pair for pair in known if pair.processes == EACH]
    return {
        name: with_widths(exchange, [pair for pair in telling if chip(pair) != name], of_chip)
        for name, exchange in of_chip.items()
    }


def _fit_for(pair: Pair, fits: Mapping[str, Exchange]) -> Exchange:
    return fits.get(chip(pair), fits[""])


# Scaling ----------------------------------------------------------------------------------------


def _scaling(
    question: Question, every: Sequence[Pair], fits: Mapping[str, Exchange]
) -> dict[str, Any]:
    asked = [pair for pair in every if question.asked(pair)]
    found = [forecast(pair, _fit_for(pair, fits)) for pair in asked]
    logs = [
        _log(interval.median, pair.seconds) for interval, pair in zip(found, asked, strict=True)
    ]
    return {
        "title": question.title,
        "n": len(asked),
        "groups": len({chip(pair) for pair in asked}),
        "law": _summary(logs) | {"coverage_of_80": _coverage(asked, found)},
        "baselines": {
            "perfect scaling": _summary([_log(pair.fewer_s, pair.seconds) for pair in asked]),
            "constants": _summary([_log(by_constants(pair), pair.seconds) for pair in asked]),
        },
        "measured_efficiency": _quantiles([pair.efficiency for pair in asked]),
        "by": {
            name: _by(asked, found, logs, group)
            for name, group in (
                ("source", lambda pair: pair.source),
                ("tied by", tied_by),
                ("devices", up_to),
                ("left out", chip),
            )
        },
        "worst": _worst(asked, logs),
    }


def by_constants(pair: Pair) -> float:
    """Return seconds by efficiencies of .65 in a node and .9 between, 25 MiB a bucket, 25 GB/s.

    Isaev et al. 2023 (github.com/calculon-ai/calculon); buckets are sent during the backward.
    """
    bytes_sent = pair.gradient_bytes
    buckets = math.ceil(bytes_sent / (25 * MIB))

    def exposed(count: int, micro_batches: int) -> float:
        if count == 1:
            return 0.0
        one = _constant_all_reduce_s(pair, bytes_sent / buckets, count)
        hidden = BACKWARD_SHARE * pair.fewer_s * (buckets - 1) / buckets
        return max(one, buckets * one - hidden) / micro_batches

    more = exposed(pair.num_devices, pair.accumulate)
    return pair.fewer_s + more - exposed(pair.fewer, pair.fewer_accumulate)


def _constant_all_reduce_s(pair: Pair, num_bytes: float, count: int) -> float:
    spec = find_spec(pair.device)
    inside = min(count, node_devices(spec))
    nodes = math.ceil(count / inside)
    both_ways = spec.interconnect_bytes_per_s or math.inf
    one_way = both_ways if spec.interconnect.startswith("PCIe") else both_ways / 2
    if "bridge" in spec.interconnect and count > 2:
        one_way = 16e9 if spec.architecture == "Turing" else 32e9
    seconds = 2 * (inside - 1) / inside * num_bytes / (one_way * 0.65) + 10e-6
    if nodes > 1:
        seconds += 2 * (nodes - 1) / nodes * num_bytes / inside / (25e9 * 0.9) + 20e-6
    return seconds


def up_to(pair: Pair) -> str:
    """Return how many devices a pair is of, in groups that sort as text."""
    return next(f"up to {limit:>5}" for limit in UP_TO if pair.num_devices <= limit)


def tied_by(pair: Pair) -> str:
    """Return the kind of link between a pair's devices."""
    spec = find_spec(pair.device)
    if "bridge" in spec.interconnect or "PCIe" in spec.interconnect:
        return "slots of gaming cards" if spec.name.startswith("GeForce") else "slots"
    return spec.interconnect


# Whole rates ------------------------------------------------------------------------------------


def _rate(
    title: str, asked: Sequence[Pair], fits: Mapping[str, Exchange], *, compiled: bool = False
) -> dict[str, Any]:
    found = [_whole(pair, fits, compiled=compiled) for pair in asked]
    alone = [_step(pair, 1, compiled=compiled).seconds for pair in asked]
    logs = [
        _log(interval.median, pair.seconds) for interval, pair in zip(found, asked, strict=True)
    ]
    pairs_alone = list(zip(asked, alone, strict=True))
    return {
        "title": title,
        "n": len(asked),
        "groups": len({chip(pair) for pair in asked}),
        "law": _summary(logs) | {"coverage_of_80": _coverage(asked, found)},
        "one device": _summary(
            [_log(s, pair.fewer_s) for pair, s in pairs_alone if pair.fewer == 1]
        )
        if any(pair.fewer == 1 for pair in asked)
        else None,
        "perfect scaling": _summary([_log(s, pair.seconds) for pair, s in pairs_alone]),
        "by": {
            "devices": _by(asked, found, logs, up_to),
            "left out": _by(asked, found, logs, chip),
        },
        "worst": _worst(asked, logs),
    }


def _whole(pair: Pair, fits: Mapping[str, Exchange], *, compiled: bool) -> Interval:
    exchange = _fit_for(pair, fits)
    made = _step(pair, pair.num_devices, exchange, compiled=compiled)
    parameters = fitted_parameters()
    sigma = parameters.spread[parameters.evidence(find_spec(pair.device))]
    return made.interval(sigma, exchange)


def _step(pair: Pair, count: int, exchange: Exchange | None = None, *, compiled: bool) -> JobStep:
    """Return a step of a pair's job as `traintime forecast` has it."""
    precision: DevicePrecision = pair.precision  # type: ignore[assignment]
    tokens = pair.model.startswith("hf:")
    job = DeviceJob(
        model=pair.model,
        sample=Sample((pair.size,) if tokens else (3, pair.size, pair.size), tokens=tokens),
        train_samples=10**9,
        validation_samples=0,
        epochs=1,
        batch_size=pair.batch_size * count,
        accumulate=1,
        optimizer="adam" if tokens else "sgd",
        precision=precision,
        memory_format=pair.memory_format,  # type: ignore[arg-type]
        compiled=compiled,
    )
    sized = _sized(pair.model, pair.size, precision, pair.batch_size, job.sample)
    if compiled:
        refuse_if_old(sized.graph)
    device = DeviceCount(find_spec(pair.device), count)
    return predict_job_step(job, sized, device, precision, fitted_parameters(), exchange)


@cache
def _sized(
    model: str, size: int, precision: DevicePrecision, batch_size: int, sample: Sample
) -> SizedGraph:
    def graph(numerics: Numerics) -> KernelGraph:
        captured = load_graph((model, size, numerics))
        assert captured, f"{model} at {size} in {numerics} has not been captured"
        return captured

    return sized_model(graph, sample, fitted_parameters())(precision, batch_size)


# Figures ----------------------------------------------------------------------------------------


def _log(found: float, actual: float) -> float:
    return math.log(found / actual)


def _summary(logs: Sequence[float]) -> dict[str, float]:
    off = sorted(abs(math.expm1(log)) for log in logs)
    return {
        "median": median(off),
        "p90": off[math.ceil(0.9 * (len(off) - 1))],
        "bias": median(logs),
        "n": len(off),
    }


def _quantiles(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[int(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9)]


def _coverage(asked: Sequence[Pair], found: Sequence[Interval]) -> float:
    inside = [pair.seconds in interval for pair, interval in zip(asked, found, strict=True)]
    return sum(inside) / len(inside)


def _by(
    asked: Sequence[Pair],
    found: Sequence[Interval],
    logs: Sequence[float],
    group: Callable[[Pair], str],
) -> dict[str, Any]:
    rows = list(zip(asked, found, logs, strict=True))
    return {
        name: _summary([log for pair, _, log in rows if group(pair) == name])
        | {
            "coverage_of_80": _coverage(
                [pair for pair in asked if group(pair) == name],
                [interval for pair, interval, _ in rows if group(pair) == name],
            ),
            "efficiency": _efficiency([pair for pair in asked if group(pair) == name]),
        }
        for name in sorted(set(map(group, asked)))
    }


def _efficiency(asked: Sequence[Pair]) -> float | None:
    """Return the median, unless pairs are entries alone."""
    known = [pair.efficiency for pair in asked if pair.fewer < pair.num_devices]
    return median(known) if known else None


def _worst(asked: Sequence[Pair], logs: Sequence[float]) -> list[dict[str, Any]]:
    ranked = sorted(zip(asked, logs, strict=True), key=lambda one: -abs(one[1]))
    return [
        {
            "model": pair.model,
            "device": f"{pair.device}x{pair.num_devices}",
            "machine": pair.machine,
            "log_error": log,
        }
        for pair, log in ranked[:20]
    ]


if __name__ == "__main__":
    main()
