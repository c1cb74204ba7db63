"""The data of the charts: learning curves, and the estimate of the total as it moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from traintime.report.page.headline import describe_goal
from traintime.report.page.incidents import marks
from traintime.report.page.run_files import Record, RunFiles, interval
from traintime.units import Interval, format_duration, format_percent

MOST_POINTS = 400  # more than the eye tells apart on a chart this wide

Column = list[float | None]
T = TypeVar("T")


def chart_data(run: RunFiles) -> dict[str, Any]:
    """Return what the charts draw, as JSON values."""
    return {
        "steps": _step_columns(run.steps),
        "epochs": _columns(
            run.epochs, ("elapsed_s", "epoch", "validation_loss", "validation_accuracy")
        ),
        "eta": _eta_columns(run),
        "target": _target(run),
        "marks": marks(run),
        "truth_s": run.elapsed_s if run.has_ended else None,
    }


def smooth(values: Iterable[float | None], span: float) -> Column:
    """Return the exponential moving average, corrected for its start.

    Args:
        values: The values; a missing one keeps the average where it is.
        span: Number of values that the average looks back on.

    References:
        Kingma and Ba 2015, "Adam", section 3 (the correction of the start).
    """
    keep = 1 - 2 / (max(span, 1.0) + 1)
    total = weight = 0.0
    smoothed: Column = []
    for value in values:
        if value is not None:
            total = keep * total + (1 - keep) * value
            weight = keep * weight + (1 - keep)
        smoothed.append(_rounded(total / weight) if weight else None)
    return smoothed


def eta_finding(run: RunFiles) -> str:
    """Return in words how good the estimates were; empty where there is no truth to tell.

    Estimates from before a change were of another run, and are not judged.
    """
    changed_at_s = run.changed_at_s
    estimates = [one for one in _estimates(run) if changed_at_s is None or one[0] >= changed_at_s]
    if not run.has_ended or run.elapsed_s <= 0:
        return ""
    if changed_at_s is None:
        return _how_good(estimates, run.elapsed_s, "From the start")
    last = f"The run was changed on the way, the last time after {format_duration(changed_at_s)}."
    return f"{last} {_how_good(estimates, run.elapsed_s, 'From then on')}".strip()


def _how_good(estimates: Sequence[tuple[float, Interval]], truth_s: float, first: str) -> str:
    """Return in a sentence how good estimates were; `first` says when the first of them was."""
    if not estimates:
        return ""
    held = sum(truth_s in estimate for _, estimate in estimates) / len(estimates)
    band = f"the truth lay inside the band at {format_percent(held, 0)} of the moments"
    settled = _settled_at(estimates, truth_s)
    if settled is None:
        return f"At the last moment the estimate was still more than 10 % off; {band}."
    when = first if settled == estimates[0][0] else f"From {format_duration(settled)} on"
    return f"{when}, the estimate stayed within 10 % of the truth; {band}."


def _settled_at(estimates: Sequence[tuple[float, Interval]], truth_s: float) -> float | None:
    """Return the moment after which the estimate is never more than 10 % off."""
    settled: float | None = None
    for elapsed_s, estimate in reversed(estimates):
        if abs(estimate.median / truth_s - 1) > 0.1:
            break
        settled = elapsed_s
    return settled


def _estimates(run: RunFiles) -> list[tuple[float, Interval]]:
    """Return the moments and the estimated totals; the forecast is the one before the start."""
    prior = [(0.0, interval(run.forecast.get("total_s")))]
    moved = [(float(r["elapsed_s"]), interval(r.get("finish_s"))) for r in run.eta]
    return [(at, estimate) for at, estimate in prior + moved if estimate] if run.eta else []


def _step_columns(steps: Sequence[Record]) -> dict[str, Column]:
    losses = [_finite(record.get("loss")) for record in steps]
    smoothed = smooth(losses, span=len(steps) / 25)
    records = [{**r, "smoothed": s} for r, s in zip(steps, smoothed, strict=True)]
    return _columns(_thinned(records), ("elapsed_s", "epoch", "loss", "smoothed"))


def _eta_columns(run: RunFiles) -> dict[str, Column]:
    estimates = _thinned(_estimates(run))
    return {
        "elapsed_s": [_rounded(at) for at, _ in estimates],
        "median": [_rounded(estimate.median) for _, estimate in estimates],
        "low": [_rounded(estimate.low) for _, estimate in estimates],
        "high": [_rounded(estimate.high) for _, estimate in estimates],
    }


def _target(run: RunFiles) -> dict[str, Any] | None:
    goal = run.goal
    if goal is None:
        return None
    return {"metric": goal.metric, "value": goal.value, "label": f"target: {describe_goal(goal)}"}


def _columns(records: Sequence[Record], keys: Sequence[str]) -> dict[str, Column]:
    return {key: [_rounded(_finite(record.get(key))) for record in records] for key in keys}


def _thinned(items: Sequence[T]) -> list[T]:
    """Return evenly spaced items, the first and the last among them."""
    if len(items) <= MOST_POINTS:
        return list(items)
    stride = (len(items) - 1) / (MOST_POINTS - 1)
    return [items[round(index * stride)] for index in range(MOST_POINTS)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
