"""What finished runs say about the next forecast: one factor on the seconds of a step.

The error of a run's forecast, y = log(measured / forecast), is taken for a sum of independent parts

    y = device + model + recipe + run

each normal around 0. The first three add up to the error of the job at hand, and share the variance
that its tier of evidence allows: sigma² - RUN_SIGMA². What is known of them is learned from the
runs that are least like the job to those that are most, by the median m of n runs at a time:

    variance  = parts that the n runs have in common, and the job has not
                + RUN_SIGMA² min(1, pi / 2n)
    surprise  = m - mean
    spread²   = belief + variance
    gain      = belief / spread² · min(1, n HUBER spread / |surprise|)
    mean     += gain · surprise
    belief   *= 1 - gain

Other models on the device come first (model and recipe are their own), then other recipes of the
model (recipe is), then the job's own runs; at each turn `belief` has grown by the part that comes
in. The factor is exp(mean). The next run lies around it by sqrt(belief + RUN_SIGMA²): without any
run that is the tier's sigma, and it is never less than RUN_SIGMA.

References:
    Shrinkage in a nested normal model: Efron and Morris 1975; Gelman et al., Bayesian Data Analysis
    (3rd edition), section 5.4. A bounded gain: Huber 1964; Masreliez and Martin 1977. The variance
    of a median, pi / 2n: Huber and Ronchetti, Robust Statistics (2nd edition), section 1.2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median_low

RUN_SIGMA = 0.07
"""Of the logarithm of a step's time between runs of one recipe on a quiet machine.

Measured: 0.073, of the epoch times of `benchmarks/results/time_to_accuracy.json` (2026-11-20, two
cores of an AMD EPYC; two recipes, five runs, 3 degrees of freedom; a sixth shared its cores and is
left out). `forecast_check.json` runs each case once, so it gives a bound: 0.10 within a model.
"""
DEVICE_SHARE, MODEL_SHARE, RECIPE_SHARE = 0.2, 0.3, 0.5
"""Of the variance between jobs.

The recipe's half is measured: 0.104² within a model, by analysis of variance of the 17 cases of
`benchmarks/results/forecast_check.json` (2026-11-20), less RUN_SIGMA², over 0.13² - RUN_SIGMA².
How the rest is shared is judgement: all cases are of one device, whose part is not to be told from
the models' (together 0.13², with five models).
"""
HUBER = 1.345
"""Spreads from which a run pulls no harder (Huber 1964: 95 % efficient where all is normal)."""
RECENT_RUNS = 10
"""Of the same conditions, the newest count: a lasting change of the machine is followed."""


@dataclass(frozen=True)
class Conditions:
    """What a step's time was forecast or measured under.

    Args:
        machine: `Machine.key`.
        device: "cpu" or "cuda:N".
        software: Versions, and the measured rates that the forecast stood on.
        model: Network.
        data: Data set.
        execution: Precision, memory format and what else `Execution` says.
        batch_size: Of an optimizer step.
        parameters: Of the network; tells apart what the recipe made of it, such as `hidden`.
    """

    machine: str
    device: str
    software: str
    model: str
    data: str
    execution: str
    batch_size: int
    parameters: int

    @property
    def place(self) -> Hashable:
        """What has to be the same for a run to say anything at all."""
        return self.machine, self.device, self.software


@dataclass(frozen=True)
class Pair:
    """Forecast and fact of a run that one process brought to its end.

    Args:
        under: What it ran under.
        forecast_step_s: Seconds per training step as forecast before any correction.
        actual_step_s: As measured.
        when: ISO time.
    """

    under: Conditions
    forecast_step_s: float
    actual_step_s: float
    when: str

    @property
    def error(self) -> float:
        """The forecast's error: log(measured / forecast)."""
        return math.log(self.actual_step_s) - math.log(self.forecast_step_s)

    @property
    def is_sound(self) -> bool:
        """Whether both are times at all; the ledger may have been written by anyone."""
        return all(0 < seconds < math.inf for seconds in (self.forecast_step_s, self.actual_step_s))


@dataclass(frozen=True)
class Correction:
    """What a forecast of a step's time is multiplied by.

    Args:
        factor: Measured over forecast, as it is to be expected.
        sigma: Of the logarithm of the corrected time.
        num_runs: Finished runs that it was learned from.
        of: How many of them are like the job, for people.
    """

    factor: float
    sigma: float
    num_runs: int
    of: str

    @classmethod
    def none(cls, sigma: float) -> Correction:
        """Return what holds without any finished run."""
        return cls(1.0, sigma, 0, "none of this job")


@dataclass(frozen=True)
class _Belief:
    """What is known of a sum of parts: it is normal."""

    mean: float
    variance: float
    run_sigma: float

    def joined_by(self, variance: float) -> _Belief:
        """Add a part of which nothing is known."""
        return replace(self, variance=self.variance + variance)

    def after(self, errors: Sequence[float], own_variance: float) -> _Belief:
        """Learn from a group of runs."""
        n = len(errors)
        # Of two the lower: what else a machine does makes a run slower, never faster.
        surprise = median_low(errors) - self.mean
        variance = own_variance + self.run_sigma**2 * min(1.0, math.pi / (2 * n))
        spread = math.sqrt(self.variance + variance)
        trust = min(1.0, n * HUBER * spread / abs(surprise)) if surprise else 1.0
        gain = trust * self.variance / spread**2
        mean, variance = self.mean + gain * surprise, self.variance * (1 - gain)
        return _Belief(mean, variance, self.run_sigma)


def correct(
    job: Conditions, pairs: Iterable[Pair], sigma: float, unsteadiness: float = 0.0
) -> Correction:
    """Return what finished runs say about a job's forecast.

    Args:
        job: What will run.
        pairs: Finished runs; those of another place count nothing.
        sigma: Of the logarithm of a step's time, by the forecast's tier of evidence.
        unsteadiness: Of the machine, which comes to what runs of one recipe differ by.
    """
    run_sigma = math.hypot(RUN_SIGMA, unsteadiness)
    here = list(_recent(pair for pair in pairs if pair.under.place == job.place and pair.is_sound))
    own = [pair for pair in here if pair.under == job]
    of_model = [pair for pair in here if pair.under.model == job.model and pair.under != job]
    others = [pair for pair in here if pair.under.model != job.model]
    between = max(0.0, sigma**2 - run_sigma**2)
    device, model, recipe = (share * between for share in (DEVICE_SHARE, MODEL_SHARE, RECIPE_SHARE))

    belief = _learned(_Belief(0.0, device, run_sigma), _by_model(others), model + recipe)
    belief = _learned(belief.joined_by(model), _by_recipe(of_model), recipe)
    belief = _learned(belief.joined_by(recipe), _by_recipe(own), 0.0)
    return Correction(
        factor=math.exp(belief.mean),
        sigma=math.sqrt(belief.variance + run_sigma**2),
        num_runs=len(here),
        of=_nearest(len(own), len(of_model), len(here)),
    )


def _recent(pairs: Iterable[Pair]) -> Iterator[Pair]:
    seen: Counter[Conditions] = Counter()
    for pair in sorted(pairs, key=lambda pair: pair.when, reverse=True):
        seen[pair.under] += 1
        if seen[pair.under] <= RECENT_RUNS:
            yield pair


def _by_model(pairs: Iterable[Pair]) -> list[list[float]]:
    return _errors_by(pairs, lambda under: under.model)


def _by_recipe(pairs: Iterable[Pair]) -> list[list[float]]:
    return _errors_by(pairs, lambda under: under)


def _errors_by(
    pairs: Iterable[Pair], group_of: Callable[[Conditions], Hashable]
) -> list[list[float]]:
    groups: dict[Hashable, list[float]] = {}
    for pair in pairs:
        groups.setdefault(group_of(pair.under), []).append(pair.error)
    return [sorted(errors) for errors in groups.values()]


def _learned(belief: _Belief, groups: Iterable[list[float]], variance: float) -> _Belief:
    # The largest group first, so that what is odd meets a belief that is firm already.
    for errors in sorted(groups, key=lambda errors: (-len(errors), errors)):
        belief = belief.after(errors, variance)
    return belief


def _nearest(num_own: int, num_of_model: int, num_all: int) -> str:
    if num_of_model and not num_own:
        return f"{num_of_model} of this model"
    if num_all and not num_own:
        return "all of other models"
    return f"{num_own or 'none'} of this job"
