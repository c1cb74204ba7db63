"""Fit how learning curves are extrapolated, and write the shapes that traintime ships.

    python calibration/curve_fit.py MEASURED            # folder of the public tables

A shape is a recorded curve smoothed over its plan; those of the runs that
`benchmarks/record_runs.py` recorded are among them. The constants are chosen from a few candidates,
one after the other, by replays of the public tables in which no run is extrapolated with a shape of
its own source: the runs recorded here are short ones, and with them as judges the drift became so
large that a plateau was hopeful. Running again gives the same file.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from traintime.clock.curve_prediction import Array, CurvePrediction
from traintime.clock.learning_curve import WIDENED_AT, Constants, CurveForecaster, read
from traintime.forecast.intervals import conformal_quantile

sys.path.insert(0, str(Path(__file__).parent))

from recorded_curves import RecordedRun, recorded_runs
from targets import Goal, aimed, early_goals_of, goals_of, lateness, scale_of

ROOT = Path(__file__).parent.parent
OUT = ROOT / "src" / "traintime" / "clock" / "curve_shapes.json"
RECORDED = ROOT / "benchmarks" / "results" / "recorded_runs.json.gz"
PROGRESS = np.round(np.linspace(0.1, 1.0, 40) ** 2, 5)
SMOOTHING = 0.015
"""Deviation, in shares of the plan, of the kernel that takes the noise out of a shape."""
LATEST_START = 0.1
"""A curve whose first evaluation is later tells no shape."""
SHARES = WIDENED_AT
LEAST_SEEN = 2
MOST_AHEAD, AHEAD_PER_SEEN = 400, 30
CANDIDATES: Mapping[str, Sequence[Any]] = {
    "falls": ((0.15, 1.0, 2.0), (0.04, 0.2, 1.0, 2.0)),
    "fall_sigma": (0.5, 0.7),
    "misfits": ((0.1, 0.3, 0.9), (0.03, 0.1, 0.3)),
    "drifts": ((0.003, 0.03), (0.01, 0.1)),
    "rate_sigma": (0.1, 0.2),
    "classical": (1.0, 3.0, 6.0, 12.0),
    "trust": (0.5, 0.25),
}
"""The first of each is where the search begins."""


def shapes_of(runs: Iterable[RecordedRun]) -> list[dict[str, Any]]:
    """Return smoothed curves, as the runtime reads them."""
    found = []
    for run in runs:
        end = run.planned or run.positions[-1]
        if run.positions[0] > LATEST_START * end:
            continue
        progress = np.array(run.positions) / end
        curve = _smoothed(progress, scale_of(run).log_error(run.values))
        found.append(
            {
                "source": run.source,
                "task": f"{run.source}/{run.task}",
                "log_errors": [round(float(y), 3) for y in curve],
                "rates": run.rates
                and [
                    round(float(rate), 2)
                    for rate in np.interp(PROGRESS, np.linspace(0, 1, len(run.rates)), run.rates)
                ],
            }
        )
    return found


def _smoothed(progress: Array, y: Array) -> Array:
    """Return local linear fits at `PROGRESS`, none of them beyond the curve's ends."""
    told = progress > 0
    progress, y = progress[told], y[told]
    at = np.clip(PROGRESS, progress[0], progress[-1])
    spacing = np.interp(at, progress[1:], np.diff(progress))
    width = np.maximum(np.minimum(SMOOTHING, at / 4), spacing / 2)
    distance = progress - at[:, None]
    weight = np.exp(-0.5 * (distance / width[:, None]) ** 2) + 1e-12
    total, first = weight.sum(axis=1), (weight * distance).sum(axis=1)
    second = (weight * distance**2).sum(axis=1) + 1e-12
    local = (weight * (second[:, None] - first[:, None] * distance)) @ y
    return local / (total * second - first**2)


def stored(runs: Iterable[RecordedRun], constants: Constants) -> dict[str, Any]:
    """Return what is written."""
    return {
        "progress": PROGRESS.tolist(),
        "constants": asdict(constants),
        "curves": shapes_of(runs),
    }


@dataclass(frozen=True)
class Moment:
    """A run, seen after a share of its length.

    Args:
        run: With all that happened.
        share: Of the plan; of the run's length where no plan is known.
        seen: Number of evaluations so far.
        ahead: Positions of the evaluations to come: the recorded ones where the plan is known, else
            on at the same pace, as the record's end would give the arrival away.
        goals: Targets that are still ahead.
    """

    run: RecordedRun
    share: float
    seen: int
    ahead: tuple[float, ...]
    goals: tuple[Goal, ...]


def moments(run: RecordedRun, shares: Sequence[float] = SHARES) -> Iterator[Moment]:
    """Yield the moments at which something can be asked of a run."""
    at, goals = np.array(run.positions), list(goals_of(run))
    for share in shares:
        now = share * (run.planned or at[-1])
        seen = int(np.sum(at <= now))
        left = tuple(g for g in goals if g.arrival is None or g.arrival > at[max(0, seen - 1)])
        if seen < LEAST_SEEN or seen == len(at) or not left:
            continue
        ahead = at[seen:]
        if run.planned is None:
            pace = float(np.median(np.diff(at[:seen])))
            ahead = at[seen - 1] + pace * np.arange(1, min(MOST_AHEAD, AHEAD_PER_SEEN * seen) + 1)
        yield Moment(run, share, seen, tuple(ahead.tolist()), left)


def predicted(forecaster: CurveForecaster, moment: Moment) -> CurvePrediction:
    """Return what is predicted at a moment."""
    run, seen = moment.run, moment.seen
    return forecaster.predict(
        run.positions[:seen],
        run.values[:seen],
        moment.ahead,
        scale_of(run),
        planned=run.planned,
        rate=run.rates,
        trainer=run.source,
    )


def score(moment: Moment, prediction: CurvePrediction) -> float:
    """Return how bad a prediction is: 0 is perfect.

    The mean square of the probability of having arrived against what was so, over the time ahead up
    to twice the arrival; with the plan known, also half the final log error's miss.
    """
    ahead = np.array(moment.ahead)
    parts = []
    for goal in moment.goals:
        arrived = np.cumsum(prediction.arrivals(goal.target))
        told = ahead <= 2 * (goal.arrival or math.inf)
        truth = ahead >= (goal.arrival or math.inf)
        parts.append(float(np.mean((arrived - truth)[told] ** 2)) if told.any() else 1.0)
    if moment.run.planned:
        parts.append(0.5 * min(1.0, abs(final_miss(moment, prediction))))
    return fmean(parts)


def final_miss(moment: Moment, prediction: CurvePrediction) -> float:
    """Return log(actual error / median forecast) at the end of the record."""
    actual = scale_of(moment.run).log_error(moment.run.values[-1:])
    return float(actual[0] - np.median(prediction.log_errors[:, -1]))


def without(runs: Iterable[RecordedRun], *sources: str) -> list[RecordedRun]:
    """Return the runs of other sources."""
    return [run for run in runs if run.source not in sources]


def forecaster_of(runs: Iterable[RecordedRun], constants: Constants) -> CurveForecaster:
    """Return a forecaster whose shapes are of these runs."""
    return read(stored(runs, constants))


def fit(runs: Sequence[RecordedRun]) -> Constants:
    """Return the constants that do best when each source is extrapolated without its own curves."""
    sources = sorted({run.source for run in runs})
    late = lateness(runs)
    closeness, strays = aimed(runs, late)
    chosen = Constants(lateness=late, closeness=closeness, strays=strays)
    least = _loss(runs, sources, chosen)
    for name, values in CANDIDATES.items():
        for value in values:
            tried = replace(chosen, **{name: value})
            if tried != chosen and (loss := _loss(runs, sources, tried)) < least:
                chosen, least = tried, loss
    chosen = replace(chosen, widening=widenings(runs, sources, chosen))
    return replace(chosen, tails=tails(runs, sources, chosen))


def _loss(runs: Sequence[RecordedRun], sources: Sequence[str], constants: Constants) -> float:
    """Return the mean score over sources, each with equal weight."""
    found = []
    for source in sources:
        forecaster = forecaster_of(without(runs, source), constants)
        asked = [m for run in runs if run.source == source for m in moments(run, SHARES[1:])]
        found.append(fmean(score(m, predicted(forecaster, m)) for m in asked))
    print(f"{fmean(found):.5f} {constants}", flush=True)
    return fmean(found)


def widenings(
    runs: Sequence[RecordedRun], sources: Sequence[str], constants: Constants, level: float = 0.8
) -> tuple[float, ...]:
    """Return the factors on the futures' spread with which intervals of the end hold.

    By the misses of each source without its own curves, over the half-width on their side; every
    source counts the same, as its n misses are repeated to the same number. No factor is below 1:
    that the model was too careful with some sources is no reason to be less so with the next.
    """
    misses: dict[float, list[list[float]]] = {share: [] for share in WIDENED_AT}
    for source in sources:
        forecaster = forecaster_of(without(runs, source), constants)
        asked = [m for run in runs if run.source == source and run.planned for m in moments(run)]
        for share, found in misses.items():
            at = [m for m in asked if m.share == share]
            found.append([_relative_miss(m, predicted(forecaster, m), level) for m in at])
    return tuple(round(max(1.0, _balanced_quantile(m, level)), 3) for m in misses.values())


INSIDE = 0.85
"""Of the arrivals that the tails are fitted to: somewhat more than is told, 80 %, since a source
that nothing was fitted to lies further from the others than they do from each other."""


def tails(
    runs: Sequence[RecordedRun], sources: Sequence[str], constants: Constants
) -> tuple[float, ...]:
    """Return what intervals of the time to a target may leave out on each side and still hold.

    At each share of the plan: the largest tail with which `INSIDE` of the arrivals of sources left
    out lie in their interval, of targets that people choose and of early ones; every source counts
    the same.
    """
    found: dict[float, list[Array]] = {share: [] for share in WIDENED_AT}
    for source in sources:
        forecaster = forecaster_of(without(runs, source), constants)
        asked = [m for run in runs if run.source == source and run.planned for m in moments(run)]
        for share, of_sources in found.items():
            at = [m for m in asked if m.share == share]
            held = [row for m in at for row in _held(m, predicted(forecaster, m))]
            of_sources += [np.mean(held, axis=0)] if held else []
    return tuple(_largest_tail(of_sources) for of_sources in found.values())


TAILS = np.round(np.arange(0.02, 0.301, 0.01), 2)
"""That are tried."""


def _held(moment: Moment, prediction: CurvePrediction) -> Iterator[list[bool]]:
    """Yield for each target that is reached yet whether intervals of each tail hold it."""
    seen_to = moment.run.positions[moment.seen - 1]
    for goal in (*moment.goals, *early_goals_of(moment.run)):
        if goal.arrival is not None and goal.arrival > seen_to:
            low = [prediction.arrival_if_any(goal.target, tail) for tail in TAILS]
            high = [prediction.arrival_if_any(goal.target, 1 - tail) for tail in TAILS]
            yield [a <= goal.arrival <= b for a, b in zip(low, high, strict=True)]


def _largest_tail(of_sources: Sequence[Array]) -> float:
    inside = np.mean(of_sources, axis=0)
    return float(TAILS[inside >= INSIDE].max(initial=TAILS[0]))


def _balanced_quantile(groups: Sequence[Sequence[float]], level: float) -> float:
    most = max(map(len, groups))
    repeated = [group[n % len(group)] for group in groups if group for n in range(most)]
    return conformal_quantile(repeated, level)


def _relative_miss(moment: Moment, prediction: CurvePrediction, level: float) -> float:
    tail = (1 - level) / 2
    low, middle, high = np.quantile(prediction.log_errors[:, -1], [tail, 0.5, 1 - tail])
    miss = final_miss(moment, prediction)
    return abs(miss) / float((high if miss > 0 else middle) - (middle if miss > 0 else low))


def main() -> None:
    """Fit to all sources and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="runs recorded here")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    public, runs = recorded_runs(given.measured), recorded_runs(given.measured, given.recorded)
    written = json.dumps(stored(runs, fit(public)), separators=(",", ":"))
    given.out.write_text(written.replace('{"source"', '\n{"source"') + "\n", encoding="utf-8")
    print(f"{len(runs)} runs, {len(written):,} bytes: {given.out}")


if __name__ == "__main__":
    main()
