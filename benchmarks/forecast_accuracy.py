"""How near forecasts come to measurements that they were not fitted to.

    python benchmarks/forecast_accuracy.py MEASURED            # folder of the public tables

Whole families of models, in every table, and whole devices are left out of the fit in turn and then
forecast: a fold leaves out a fifth of both. One more fit leaves out every whole model of the table
of fp32 transformers and keeps its single operations: so are devices known that somebody measured
product by product.
Beside the law stand two baselines fitted to the same rows: a constant share of the peak (all that
FLOP counting can do), and a plain roofline times one factor. Intervals are conformal: a group's
half-width comes from the errors of the other groups. Writes results/forecast_accuracy.json.

The graphs of the measured models have been captured before: see calibration/graphs.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

import measured_on
from traintime.forecast.intervals import conformal_quantile, conformal_sigma
from traintime.hardware.devices import devices

sys.path.insert(0, str(Path(__file__).parent.parent / "calibration"))

from best_products import SOURCE as ONE_PRODUCT
from fit import Fitting, Row, errors, gather, read_rows, source_of
from measured_rows import StepRow, is_judged, timm_family

LeftOut = Literal["family", "device", "whole models"]
LEFT_OUT: tuple[LeftOut, ...] = ("family", "device", "whole models")
FOLDS = 5
TRANSFORMERS = "neusight"
UNSEEN_DEVICE_TABLES = ("lambda", "lambda-tf", "ryujaehun", "nvidia-dle", "jcjohnson", "u39kun")


@dataclass(frozen=True)
class Question:
    """One line of the table.

    Args:
        name: How the result calls it.
        title: For people.
        asked: Which rows are forecast.
        group: What is left out together.
        left_out: Which of the fits forecasts them.
    """

    name: str
    title: str
    asked: Callable[[Row], bool]
    group: Callable[[Row], str]
    left_out: LeftOut


def device_group(row: Row) -> str:
    """Return what of a device is left out with it: all variants of one chip."""
    for chip in CHIPS:
        if row.device.startswith(chip):
            return chip
    return row.device


def family(row: Row) -> str:
    """Return the family of a row's model, the same in every table; none for a single operation."""
    if not isinstance(row, StepRow):
        return ""
    library, _, name = row.model.partition(":")
    return timm_family(name) if library in ("timm", "tv") else name.split("_")[0]


CHIPS = ("v100", "a100", "h100", "p100", "rtx-2080-ti", "rtx-3080", "mi2")
ALWAYS_SEEN = "rtx-3090"
"""The device of the only table with many families; it is never a device left out."""


def _is_transformer(row: Row) -> bool:
    return source_of(row) == TRANSFORMERS


def _waits(row: Row) -> bool:
    return isinstance(row, StepRow) and row.waits_for_memory


QUESTIONS = (
    Question(
        "families",
        "one GPU, AMP training, unseen model families",
        lambda row: source_of(row) == "timm",
        family,
        "family",
    ),
    Question(
        "devices",
        "one GPU, unseen devices from their data sheets",
        lambda row: source_of(row) in UNSEEN_DEVICE_TABLES and row.device != ALWAYS_SEEN,
        device_group,
        "device",
    ),
    Question(
        "transformers",
        "fp32 transformers on unseen devices",
        _is_transformer,
        device_group,
        "device",
    ),
    Question(
        "operations",
        "fp32 transformers, single operations known",
        _is_transformer,
        device_group,
        "whole models",
    ),
    Question(
        "transformers that do not wait",
        "fp32 transformers on unseen devices, without steps that wait for memory",
        lambda row: _is_transformer(row) and not _waits(row),
        device_group,
        "device",
    ),
    Question(
        "best products",
        "fastest product in 16 bits, unseen devices",
        lambda row: source_of(row) == ONE_PRODUCT,
        device_group,
        "device",
    ),
)


def main() -> None:
    """Fit without each fold, print the table and write the result."""
    given = _arguments()
    torch.set_num_threads(1)
    fitting = gather(read_rows(given.measured))
    found = torch.full((len(LEFT_OUT), len(fitting.rows)), math.nan)
    folds = [int(number) - 1 for number in given.folds.split(",")] + [FOLDS]
    with ProcessPoolExecutor(given.processes, mp_context=get_context("fork")) as pool:
        for part in pool.map(partial(_hold_out, fitting, given.steps), folds):
            found = torch.where(part.isnan(), found, part)
    result: dict[str, Any] = {"measured_on": measured_on.measured_on(["traintime"]), "rows": {}}
    for question in QUESTIONS:
        errors_of = found[LEFT_OUT.index(question.left_out)]
        result["rows"][question.name] = _answer(question, fitting, errors_of)
        measured_on.write(given.out, result)
        print(_line(question, result["rows"][question.name]), flush=True)


def _hold_out(fitting: Fitting, steps: int, fold: int) -> Tensor:
    """Return (3, R) a fold's log errors, in the order of `LEFT_OUT`; NaN of what it has seen.

    Args:
        fitting: All rows.
        steps: Of the fit.
        fold: Its number; the one after the last leaves out the whole models of transformers.
    """
    torch.set_num_threads(1)
    families, chips = set[str](), set[str]()
    if fold < FOLDS:
        families = _fold({family(row) for row in fitting.rows if source_of(row) == "timm"}, fold)
        everything = {device_group(row) for row in fitting.rows} - {ALWAYS_SEEN}
        chips = _fold(everything, fold, _generation)

    def unseen(row: Row) -> tuple[bool, bool, bool]:
        whole = fold == FOLDS and source_of(row) == TRANSFORMERS
        return family(row) in families, device_group(row) in chips, whole

    logs = errors(fitting.law(lambda row: not any(unseen(row)), steps=steps), fitting)
    print(f"fit {fold + 1}: without {sorted(families | chips) or 'whole models'}", flush=True)
    return logs.where(torch.tensor([unseen(row) for row in fitting.rows]).T, NAN)


NAN = torch.tensor(math.nan)


def _fold(names: set[str], fold: int, order: Callable[[str], str] = lambda _: "") -> set[str]:
    return set(sorted(names, key=lambda name: (order(name), name))[fold::FOLDS])


def _generation(chip: str) -> str:
    """Return a chip's architecture, so that a fold leaves out one of each and not all of one."""
    return next(spec.architecture for spec in devices() if spec.key.startswith(chip))


def _answer(question: Question, fitting: Fitting, found: Tensor) -> dict[str, Any]:
    asked = [n for n, row in enumerate(fitting.rows) if question.asked(row) and is_judged(row)]
    rows = [n for n in asked if not math.isnan(found[n])]
    logs = [found[n].item() for n in rows]
    groups = [question.group(fitting.rows[n]) for n in rows]
    baseline = {
        name: _summary(list(_leave_out(logs_of, groups)))
        for name, logs_of in _baselines(fitting, rows).items()
    }
    return {
        "title": question.title,
        "n": len(rows),
        "groups": len(set(groups)),
        "law": _summary(logs) | {"coverage_of_80": _coverage(logs, groups)},
        "baselines": baseline,
        "spread": conformal_sigma(logs),
        "by_group": {
            g: _summary([e for e, h in zip(logs, groups, strict=True) if h == g])
            for g in sorted(set(groups))
        },
        "worst": _worst(fitting, rows, logs),
        "actual_and_forecast_s": [
            [_short(fitting.rows[n].seconds), _short(fitting.rows[n].seconds * math.exp(error))]
            for n, error in zip(rows, logs, strict=True)
        ],
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _summary(logs: Sequence[float]) -> dict[str, float]:
    off = sorted(abs(math.expm1(e)) for e in logs)
    return {
        "median": median(off),
        "p90": off[int(0.9 * (len(off) - 1))],
        "mean": sum(off) / len(off),
        "bias": median(logs),
        "n": len(off),
    }


def _baselines(fitting: Fitting, rows: Sequence[int]) -> Mapping[str, list[float]]:
    """Return log errors, up to a factor, of FLOP over peak and of the roofline."""
    static = fitting.static
    points = static.points
    arithmetic = points.count * points.flops / static.peak
    traffic = points.count * points.num_bytes / static.bandwidth[points.point]
    size = len(points.spec)
    flops = torch.zeros(size).index_add(0, points.point, arithmetic).clamp_min(1e-9)
    roof = torch.zeros(size).index_add(0, points.point, torch.maximum(arithmetic, traffic))
    at = points.row_point
    return {
        "constant efficiency": [(flops[at[n]].log() - static.target[n]).item() for n in rows],
        "roofline": [(roof[at[n]].log() - static.target[n]).item() for n in rows],
    }


def _leave_out(logs: Sequence[float], groups: Sequence[str]) -> Iterator[float]:
    """Yield each error after taking off the median of all other groups."""
    pairs = list(zip(logs, groups, strict=True))
    factors = {g: median([e for e, h in pairs if h != g]) for g in set(groups)}
    yield from (e - factors[g] for e, g in pairs)


def _coverage(logs: Sequence[float], groups: Sequence[str]) -> float:
    """Return the share inside an interval whose width the other groups' errors give."""
    pairs = list(zip(logs, groups, strict=True))
    widths = {g: conformal_quantile([abs(e) for e, h in pairs if h != g], 0.8) for g in set(groups)}
    return sum(abs(e) <= widths[g] for e, g in pairs) / len(pairs)


def _worst(fitting: Fitting, rows: Sequence[int], logs: Sequence[float]) -> list[dict[str, Any]]:
    by_model: dict[tuple[str, str], list[float]] = {}
    for n, error in zip(rows, logs, strict=True):
        row = fitting.rows[n]
        key = (getattr(row, "model", ""), row.device)
        by_model.setdefault(key, []).append(error)
    ranked = sorted(by_model.items(), key=lambda item: -abs(median(item[1])))
    return [
        {"model": m, "device": d, "log_error": median(e), "n": len(e)} for (m, d), e in ranked[:20]
    ]


def _line(question: Question, answer: dict[str, Any]) -> str:
    law, base = answer["law"], answer["baselines"]["constant efficiency"]
    roof = answer["baselines"]["roofline"]
    return (
        f"{question.title} (n {answer['n']}, {answer['groups']} groups): "
        f"median {law['median']:.1%} p90 {law['p90']:.1%} mean {law['mean']:.1%} "
        f"coverage {law['coverage_of_80']:.0%} | constant {base['median']:.0%} · {base['p90']:.0%} "
        f"| roofline {roof['median']:.0%} · {roof['p90']:.0%}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    parser.add_argument("--steps", type=int, default=500, help="of each fit")
    parser.add_argument("--folds", default="1,2,3,4,5", help="a part of them for a first look")
    parser.add_argument("--processes", type=int, default=2, help="fits at the same time")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "forecast_accuracy.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
