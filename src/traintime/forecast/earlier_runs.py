"""What earlier runs of a recipe say of the next one's learning curve.

At the end of each epoch the logarithms of the errors that n earlier runs had there are joined with
the curve of the preset, which counts as so many runs as it is worth:

    mean   = (worth · preset + sum of the n) / (worth + n)
    sigma² = spread² · (1 + 1 / (worth + n))

The spread from run to run is the preset's, or what is usual, and that of the runs themselves, by
pooled variance. On a processor a job that was run before, seed and all, goes as it went.

References:
    Predictive distribution of a normal mean: Gelman et al., Bayesian Data Analysis (3rd edition),
    section 2.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from traintime.forecast.convergence import Curve, log_error

SEED_SIGMA = 0.12
"""From seed to seed, where nothing is known: about the middle of the shipped curves' medians, which
are 0.04 to 0.23 on the thousands of samples of the larger sets (`learning_curves.json`)."""
SIGMA_COUNTS = 4
"""Runs that the known spread counts for beside the runs at hand."""
REPEATED_SIGMA = 0.01
"""Of a run that is repeated; more than its bits need, in case that they do differ."""


@dataclass(frozen=True)
class EarlierRun:
    """A finished run of the recipe at hand, seeds and ends aside.

    Args:
        name: Of the run.
        values: Of the watched metric, after each epoch that it took.
        is_same: Whether the job at hand computes the very same: seed, processor and software.
    """

    name: str
    values: tuple[float, ...]
    is_same: bool


def with_earlier(
    curve: Curve | None, runs: Sequence[EarlierRun], epochs: int, metric: str
) -> Curve | None:
    """Return what to expect of a recipe that was run before.

    Args:
        curve: What is known beside; None if nothing is.
        runs: The newest first. Of those that ended before the last epoch the rest is not known.
        epochs: Of the recipe.
        metric: That is watched.

    Returns:
        None if not all epochs can be told.
    """
    repeated = next((run for run in runs if run.is_same), None)
    different = dict.fromkeys(run.values[:epochs] for run in runs)  # one seed says a thing once
    told = [[log_error(metric, value) for value in values] for values in different]
    if repeated:
        values = [log_error(metric, value) for value in repeated.values[:epochs]]
        return _repeated(values, curve, epochs, repeated.name)
    if not told or (curve is None and max(map(len, told)) < epochs):
        return curve
    joined = [_joined([run[e] for run in told if e < len(run)], curve, e) for e in range(epochs)]
    source = f"{len(told)} earlier run{'s' * (len(told) > 1)} of this recipe"
    return Curve(
        tuple(mean for mean, _ in joined),
        tuple(sigma for _, sigma in joined),
        f"{source}; {curve.source}" if curve else source,
        len(told) + (curve.worth if curve else 0.0),
    )


def _joined(values: Sequence[float], curve: Curve | None, epoch: int) -> tuple[float, float]:
    """Return mean and deviation of the next run's value at an epoch."""
    worth = curve.worth if curve else 0.0
    usual = curve.sigmas[epoch] if curve and worth >= 1 else SEED_SIGMA
    if not values and curve:
        return curve.log_errors[epoch], curve.sigmas[epoch]
    count = worth + len(values)
    known = worth * curve.log_errors[epoch] if curve else 0.0
    mean = (known + sum(values)) / count
    own_mean = sum(values) / len(values)
    own = sum((value - own_mean) ** 2 for value in values)
    variance = (SIGMA_COUNTS * usual**2 + own) / (SIGMA_COUNTS + len(values) - 1)
    return mean, math.sqrt(variance * (1 + 1 / count))


def _repeated(values: list[float], curve: Curve | None, epochs: int, name: str) -> Curve:
    """Return the curve of a run that is run again; where it ended, others say how it goes on."""
    last, known = values[-1], len(values)
    ahead = range(known, epochs)
    if curve:
        rest = [last + curve.log_errors[e] - curve.log_errors[known - 1] for e in ahead]
        spread = [curve.sigmas[e] for e in ahead]
    else:
        rest, spread = [last for _ in ahead], [SEED_SIGMA for _ in ahead]
    return Curve(
        (*values, *rest),
        (*[REPEATED_SIGMA] * known, *spread),
        f"run {name}, which this one repeats",
    )
