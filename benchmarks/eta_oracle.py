"""How well a target could be called at best: by someone who knows where the run will end.

A module of `eta_accuracy.py`. The oracle knows a run's best value with a normal error of some share
of what the run gains after a tenth of its record, and calls a target whose chance is below some
threshold. Its errors are worked out, not drawn. What no forecast before the end can know is how
runs differ from seed to seed; AlgoPerf's studies, which repeated the same trials, tell how much.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from traintime.clock.curve_prediction import LEAST_GAIN

sys.path.insert(0, str(Path(__file__).parent.parent / "calibration"))

from curve_fit import Moment, moments
from recorded_curves import RecordedRun
from targets import gained, scale_of

SPREADS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Of the oracle, in shares of the gain."""
SHARE = 0.5
MOST_FALSE, LEAST_CALLED = 0.05, 0.9
NORMAL = NormalDist()


def oracle(runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """Return what the oracle calls, by how well it knows the end."""
    asked = [m for run in runs if run.planned for m in moments(run, (SHARE,))]
    missing = [missed for moment in asked for missed in _missing(moment)]
    return {
        "share": SHARE,
        "from_seed_to_seed": seed_spread(runs),
        "rows": [_row(missing, spread) for spread in (seed_spread(runs), *SPREADS)],
        "needed": _needed(missing),
    }


def seed_spread(runs: Iterable[RecordedRun]) -> float:
    """Return the root-mean-square deviation of the best over the gain, between AlgoPerf's studies.

    Trials of one number in several studies have the same recipe and other seeds.
    """
    groups: dict[tuple[str, str], list[RecordedRun]] = {}
    for run in runs:
        if run.source == "algoperf":
            groups.setdefault((run.task, run.name.rsplit("/", 1)[-1]), []).append(run)
    parts = [
        (stdev(map(_best, alike)) / fmean(map(gained, alike)), len(alike) - 1)
        for alike in groups.values()
        if len(alike) > 1
    ]
    return math.sqrt(sum(s**2 * n for s, n in parts) / sum(n for _, n in parts))


def _best(run: RecordedRun) -> float:
    return float(scale_of(run).log_error(run.values).min())


def _missing(moment: Moment) -> list[float]:
    """Return how far the run's best stays from each target, over its gain; at most 0 if reached."""
    run = moment.run
    gain, best = max(gained(run), LEAST_GAIN), _best(run)
    goals = scale_of(run).log_error([goal.target for goal in moment.goals])
    return [(best - float(goal)) / gain for goal in goals]


def _called(missing: Iterable[float], spread: float, threshold: float) -> float:
    """Return the expected share of targets whose chance is given below a threshold.

    The chance is that of the end, as far as it is known, to be beyond the target; so it is below
    the threshold if the end was taken for worse than the target by enough.
    """
    enough = -NORMAL.inv_cdf(threshold)
    return fmean(NORMAL.cdf(missed / spread - enough) for missed in missing)


def _row(missing: Sequence[float], spread: float) -> dict[str, float]:
    reached = [missed for missed in missing if missed <= 0]
    never = [missed for missed in missing if missed > 0]
    thresholds = [n / 200 for n in range(1, 200)]
    allowed = [t for t in thresholds if _called(reached, spread, t) <= MOST_FALSE]
    return {
        "spread": spread,
        "called": _called(never, spread, 0.5),
        "false_alarms": _called(reached, spread, 0.5),
        "called_at_one_in_twenty": _called(never, spread, max(allowed)) if allowed else 0.0,
    }


def _needed(missing: Sequence[float]) -> float:
    """Return the largest spread with which nine in ten are called at one false alarm in twenty."""
    spreads = [n / 100 for n in range(1, 51)]
    enough = (
        spread
        for spread in spreads
        if _row(missing, spread)["called_at_one_in_twenty"] >= LEAST_CALLED
    )
    return max(enough, default=0.0)
