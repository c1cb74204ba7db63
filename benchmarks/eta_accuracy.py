"""How early a run's learning curve tells when it reaches its target, whether, and where it ends.

    python benchmarks/eta_accuracy.py MEASURED          # folder of the public tables

Recorded runs are replayed: after 5, 10, 25 and 50 % of each, what is said is held against what
came. Everything that is fitted, constants and shapes, comes from the other sources alone. Beside it
stands what the last value, a power law and a power law with a floor would have said; and for the
time to the end, which needs no curve, what progress bars say (`eta_replay.py`). An extrapolation
that does not arrive counts as arriving with the last evaluation ahead. Where no plan is known, as
in MLPerf, shares are of the record's length and futures go on at the pace so far.

A second table leaves out one data set at a time and not its whole source: that is what a run gets
whose trainer is among the shapes, and known to be its own, as with runs of traintime. Its constants
are still those of the other sources.

What is measured is what the clock shows: when a target is reached if it is, and beside it how
likely that is. `eta_calls.py` says whether that chance holds, `eta_oracle.py` how well a target can
be called at best.

No number was fitted to what is forecast here, but the form of the model was chosen with errors of
such replays in sight, in some 50 rounds. Decided last, with this table in sight, was that a
target's value tells of its chance too, that some targets are chosen without knowing what a run will
do, that validations which wobble have more to gain from a falling rate, and how much a run is taken
to go as others of its trainer. So the figures are somewhat better than they will be on sources that
nobody has looked at. Targets taken from the run itself lie at 60 to 90 % of it, so that three
quarters of the plan is a good guess which knows nothing; it stands beside the rest. Early targets,
at 15 to 45 %, are asked apart. Writes results/eta_accuracy.json.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import measured_on
from eta_calls import CALLED_BELOW, Told, called, calls
from eta_oracle import oracle
from eta_replay import recorded
from eta_replay import replay as replay_clock
from traintime.clock.curve_prediction import Array, CurvePrediction
from traintime.clock.learning_curve import Constants

sys.path.insert(0, str(Path(__file__).parent.parent / "calibration"))

from curve_fit import (
    SHARES,
    Moment,
    final_miss,
    fit,
    forecaster_of,
    moments,
    predicted,
    without,
)
from recorded_curves import RecordedRun, recorded_runs
from targets import Goal, early_goals_of, scale_of

HERE = "recorded here"
LEVEL = 0.8
OURS, GUESS = "traintime", "three quarters of the plan"
WITH_CHANCE = "traintime, the end if it is unlikely"


def last_value(_: Array, y: Array, ahead: Array) -> Array:
    """Say that nothing changes any more."""
    return np.full(len(ahead), y[-1])


def power_law(at: Array, y: Array, ahead: Array) -> Array:
    """Draw a straight line over the logarithm of the position, by least squares."""
    slope, level = np.polyfit(np.log(at), y, 1)
    return level + slope * np.log(ahead)


def power_law_with_floor(at: Array, y: Array, ahead: Array) -> Array:
    """Fit error = floor + factor·position^-power: a grid of powers, least squares for the rest."""
    fits = []
    for power in np.linspace(0.1, 3.0, 30):
        design = np.stack([np.ones_like(at), at**-power], axis=1)
        floor, factor = np.maximum(np.linalg.lstsq(design, np.exp(y), rcond=None)[0], 1e-12)
        miss = float(np.sum((np.log(floor + factor * at**-power) - y) ** 2))
        fits.append((miss, power, floor, factor))
    _, power, floor, factor = min(fits)
    return np.log(floor + factor * ahead**-power)


SIMPLE: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "last value": last_value,
    "power law": power_law,
    "power law with floor": power_law_with_floor,
}


@dataclass(frozen=True)
class Answer:
    """One target, asked at one moment.

    Args:
        source: Of the run.
        planned: Whether its plan is known.
        scheduled: Whether its learning rate is known too.
        share: Of the run.
        kind: Of the target.
        arrival: Where it was reached; None if never.
        said: Position by each method.
        within: Whether the arrival lies in our interval; None if there was none.
        chance: That we gave.
        seconds: That the prediction took.
    """

    source: str
    planned: bool
    scheduled: bool
    share: float
    kind: str
    arrival: float | None
    said: dict[str, float]
    within: bool | None
    chance: float
    seconds: float


@dataclass(frozen=True)
class End:
    """The last value of a run, asked at one moment.

    Args:
        source: Of the run.
        scheduled: Whether its learning rate is known.
        share: Of the run.
        misses: |log(actual / forecast)| of the error or loss, by each method.
        within: Whether it lies in our interval.
        better: What we told of a validation better than the best so far, and whether there was one.
    """

    source: str
    scheduled: bool
    share: float
    misses: dict[str, float]
    within: bool
    better: Told


def replay(
    runs: Iterable[RecordedRun], shapes: Sequence[RecordedRun], constants: Constants
) -> tuple[list[Answer], list[End]]:
    """Return what was said of some runs with the shapes of others."""
    forecaster, answers, ends = forecaster_of(shapes, constants), list[Answer](), list[End]()
    for run in runs:
        for moment in moments(run):
            began = perf_counter()
            prediction = predicted(forecaster, moment)
            seconds = perf_counter() - began
            simple = _simple(moment)
            seen_to = run.positions[moment.seen - 1]
            early = [g for g in early_goals_of(run) if g.arrival and g.arrival > seen_to]
            goals = [*moment.goals, *(early if run.planned else [])]
            answers += [_answer(moment, g, prediction, simple, seconds) for g in goals]
            if run.planned:
                ends.append(_end(moment, prediction, simple))
    return answers, ends


def _simple(moment: Moment) -> dict[str, Array]:
    """Return log errors at the evaluations ahead by each simple extrapolation."""
    run, ahead = moment.run, np.array(moment.ahead)
    at = np.array(run.positions[: moment.seen])
    y = scale_of(run).log_error(run.values[: moment.seen])[at > 0]
    at = at[at > 0]
    if len(at) < 2:  # no line goes through one point
        return {name: last_value(at, y, ahead) for name in SIMPLE}
    return {name: law(at, y, ahead) for name, law in SIMPLE.items()}


def _answer(
    moment: Moment,
    goal: Goal,
    prediction: CurvePrediction,
    simple: Mapping[str, Array],
    seconds: float,
) -> Answer:
    run, end = moment.run, moment.ahead[-1]
    least = float(scale_of(run).log_error([goal.target])[0])
    said = {
        OURS: prediction.arrival_if_any(goal.target),
        WITH_CHANCE: min(end, prediction.arrival(goal.target)),
    }
    for name, path in simple.items():
        reached = np.flatnonzero(path <= least)
        said[name] = moment.ahead[reached[0]] if len(reached) else end
    if run.planned:
        said[GUESS] = 0.75 * run.planned
    tail = prediction.tail
    low, high = (prediction.arrival_if_any(goal.target, q) for q in (tail, 1 - tail))
    arrival = goal.arrival
    # Positions of our own pace do not meet the recorded ones, where no plan is known.
    slack = 0.0 if run.planned else (moment.ahead[1] - moment.ahead[0]) / 2
    return Answer(
        run.source,
        run.planned is not None,
        run.planned is not None and run.rates is not None,
        moment.share,
        goal.kind,
        goal.arrival,
        said,
        None if arrival is None else low - slack <= arrival <= high + slack,
        prediction.chance(goal.target),
        seconds,
    )


def _end(moment: Moment, prediction: CurvePrediction, simple: Mapping[str, Array]) -> End:
    run, tail = moment.run, (1 - LEVEL) / 2
    actual = float(scale_of(run).log_error(run.values[-1:])[0])
    low, high = np.quantile(prediction.log_errors[:, -1], [tail, 1 - tail])
    misses = {OURS: abs(final_miss(moment, prediction))}
    misses |= {name: abs(actual - float(path[-1])) for name, path in simple.items()}
    rest = scale_of(run).log_error(run.values[moment.seen :])
    better = Told(prediction.chance_to_improve(), bool(rest.min() < prediction.best))
    within = bool(low <= actual <= high)
    return End(run.source, run.rates is not None, moment.share, misses, within, better)


def table(answers: Sequence[Answer], ends: Sequence[End]) -> list[dict[str, Any]]:
    """Return the rows: each source and all of a kind, at each share."""
    rows = []
    sources = sorted({answer.source for answer in answers})
    groups: list[tuple[str, Callable[[Answer | End], bool]]] = [
        (source, lambda one, source=source: one.source == source) for source in sources
    ]
    groups.append(("all with a plan", lambda one: isinstance(one, End) or one.planned))
    groups.append(("all without a plan", lambda one: isinstance(one, Answer) and not one.planned))
    for name, belongs in groups:
        for share in SHARES:
            asked = [a for a in answers if a.share == share and belongs(a)]
            ended = [e for e in ends if e.share == share and belongs(e)]
            if asked:
                rows.append({"of": name, "share": share} | _row(asked, ended))
    return rows


def _row(every: Sequence[Answer], ends: Sequence[End]) -> dict[str, Any]:
    answers, early = _apart(every)
    reached = [a for a in answers if a.arrival is not None]
    never = [a for a in answers if a.arrival is None]
    return {
        "targets_reached": len(reached),
        "targets_never_reached": len(never),
        "ends": len(ends),
        "time_to_target": _time_errors(reached),
        "time_to_official_target": _time_errors([a for a in reached if a.kind == "official"]),
        "coverage_of_time": _share(bool(a.within) for a in reached),
        "early_targets": len(early),
        "time_to_early_target": _time_errors(early),
        "coverage_of_early_time": _share(bool(a.within) for a in early),
        "final": {
            name: math.expm1(median(e.misses[name] for e in ends)) for name in (OURS, *SIMPLE)
        }
        if ends
        else {},
        "coverage_of_final": _share(e.within for e in ends),
        "called": called(_told(never)),
        "false_alarms": called(_told(reached)),
        "false_alarms_official": called(_told(a for a in reached if a.kind == "official")),
    }


def _apart(answers: Iterable[Answer]) -> tuple[list[Answer], list[Answer]]:
    """Return answers to targets as people choose them, and those to early ones."""
    every = list(answers)
    return [a for a in every if a.kind != "early"], [a for a in every if a.kind == "early"]


def _told(answers: Iterable[Answer]) -> list[Told]:
    return [Told(answer.chance, answer.arrival is not None) for answer in answers]


def call_rows(answers: Iterable[Answer], ends: Sequence[End]) -> list[dict[str, Any]]:
    """Return whether chances hold, with the learning rate known and not, at each share."""
    chosen, _ = _apart(a for a in answers if a.planned)
    rows = []
    for scheduled, share in product((True, False), SHARES):
        asked = [a for a in chosen if (a.scheduled, a.share) == (scheduled, share)]
        ended = [e.better for e in ends if (e.scheduled, e.share) == (scheduled, share)]
        facts = {"scheduled": scheduled, "share": share, "better": calls(ended)}
        rows.append(facts | calls(_told(asked)))
    return rows


def _time_errors(answers: Sequence[Answer]) -> dict[str, float]:
    """Return each method's median of |said / actual - 1|, the time counted from the start."""
    pairs = [(a.said, a.arrival) for a in answers if a.arrival]
    if not pairs:
        return {}
    return {
        name: median(abs(said[name] / arrival - 1) for said, arrival in pairs)
        for name in (OURS, WITH_CHANCE, *SIMPLE, GUESS)
        if all(name in said for said, _ in pairs)
    }


def _share(found: Iterable[bool]) -> float | None:
    every = list(found)
    return sum(every) / len(every) if every else None


def time_to_end(path: Path) -> list[dict[str, Any]]:
    """Return the median error of the total duration, by who said it."""
    answers = [answer for run in recorded(path) for answer in replay_clock(run)]
    rows: list[dict[str, Any]] = []
    for disturbed in (False, True):
        for share in SHARES:
            asked = [a for a in answers if (a.share, a.disturbed) == (share, disturbed)]
            if not asked:
                continue
            # A bar says nothing before its first update.
            errors = {
                name: [
                    abs(said_s / answer.total_s - 1)
                    for answer in asked
                    if math.isfinite(said_s := answer.said_s[name])
                ]
                for name in asked[0].said_s
            }
            rows.append(
                {
                    "disturbed": disturbed,
                    "share": share,
                    "runs": len(asked),
                    "median": {name: median(found) for name, found in errors.items()},
                    "p90": {name: _quantile(found, 0.9) for name, found in errors.items()},
                    "coverage": _share(answer.total_s in answer.interval for answer in asked),
                }
            )
    return rows


def _quantile(values: Sequence[float], level: float) -> float:
    return float(np.quantile(values, level))


def main() -> None:
    """Replay, print the table and write the result."""
    given = _arguments()
    runs = recorded_runs(given.measured, given.recorded)
    sources = sorted({run.source for run in runs})
    # As in curve_fit.py, runs recorded here give shapes and judge no constants.
    constants = {source: fit(without(runs, source, HERE)) for source in sources}
    strict = _replayed(
        (of(runs, source), without(runs, source), constants[source]) for source in sources
    )
    familiar = _replayed(
        (alike, [run for run in runs if run not in alike], constants[alike[0].source])
        for alike in _data_sets(runs)
    )
    result: dict[str, Any] = {
        "measured_on": measured_on.measured_on(["traintime"]),
        "runs": {source: len(of(runs, source)) for source in sources},
        "constants": {source: asdict(found) for source, found in constants.items()},
        "update_s": {
            "median": median(answer.seconds for answer in strict[0]),
            "most": max(answer.seconds for answer in strict[0]),
        },
        "rows": table(*strict),
        "rows_data_left_out": table(*familiar),
        "called_below": CALLED_BELOW,
        "calls": call_rows(*strict),
        "calls_data_left_out": call_rows(
            (a for a in familiar[0] if a.source == HERE),
            [e for e in familiar[1] if e.source == HERE],
        ),
        "oracle": oracle(runs),
        "time_to_end": time_to_end(given.recorded) if given.recorded else [],
    }
    measured_on.write(given.out, result)
    for title, rows in (
        ("source", result["rows"]),
        ("data set", result["rows_data_left_out"]),
    ):
        print(f"Left out: the whole {title}")
        print("\n".join(map(_line, rows)))
    for row in result["time_to_end"]:
        said = ", ".join(f"{name} {error:.1%}" for name, error in row["median"].items())
        print(
            f"end at {row['share']:.0%}{' disturbed' if row['disturbed'] else ''}: {said}; "
            f"inside {row['coverage']:.0%}, n {row['runs']}"
        )
    print(f"Written to {given.out}")


def of(runs: Iterable[RecordedRun], source: str) -> list[RecordedRun]:
    """Return the runs of one source."""
    return [run for run in runs if run.source == source]


def _data_sets(runs: Iterable[RecordedRun]) -> list[list[RecordedRun]]:
    found: dict[tuple[str, str], list[RecordedRun]] = {}
    for run in runs:
        found.setdefault((run.source, run.data or run.task), []).append(run)
    return list(found.values())


Fold = tuple[Sequence[RecordedRun], Sequence[RecordedRun], Constants]


def _replayed(folds: Iterable[Fold]) -> tuple[list[Answer], list[End]]:
    parts = [replay(*fold) for fold in folds]
    return [a for part, _ in parts for a in part], [e for _, part in parts for e in part]


def _line(row: Mapping[str, Any]) -> str:
    def shown(errors: Mapping[str, float]) -> str:
        if not errors:
            return "-"
        best = min(errors[name] for name in SIMPLE)
        return f"{errors[OURS]:4.0%} (best simple {best:4.0%})"

    def percent(share: float | None) -> str:
        return "-" if share is None else f"{share:.0%}"

    return (
        f"{row['of']:>18} {row['share']:4.0%}: time {shown(row['time_to_target'])} "
        f"final {shown(row['final'])} inside {percent(row['coverage_of_time'])} "
        f"{percent(row['coverage_of_final'])} early {shown(row['time_to_early_target'])} "
        f"inside {percent(row['coverage_of_early_time'])} called {percent(row['called'])} "
        f"false {percent(row['false_alarms'])} official {percent(row['false_alarms_official'])} "
        f"n {row['targets_reached']} + {row['targets_never_reached']}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    results = Path(__file__).parent / "results"
    recorded_here = results / "recorded_runs.json.gz"
    parser.add_argument("--recorded", type=Path, default=recorded_here, help="runs recorded here")
    parser.add_argument("--out", type=Path, default=results / "eta_accuracy.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
