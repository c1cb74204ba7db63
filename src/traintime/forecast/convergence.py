"""How many epochs it takes to a target, before and during a run.

Curves of earlier runs with the preset recipes (`learning_curves.json`, measured by
`benchmarks/learning_curves.py`) say what error to expect after each share of the schedule, and how
much that varies from seed to seed. The logarithm of the error is taken as normal around that curve,
in part the same way off all along (a better or worse run) and in part anew each epoch (the noise of
one validation). The target is reached in the first epoch whose error is small enough.

Part of what runs differ by is their seed: what is validated on, first weights, order of samples. So
of a preset as it is, the measured run of the very seed says more than the others: given it, the
mean moves towards it by the share of the variance that runs of one seed have in common, and the
variance falls by the square of that share (the conditional normal distribution).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import NormalDist
from typing import Any

from traintime.data.catalogue import find
from traintime.recipe import Recipe, Target

PERSISTENT_SHARE = 0.7
"""Share of a run's deviation, in variance, that stays with it."""
LEAST_SIGMA = 0.04
"""Of the logarithm of the error: the noise of judging a few thousand samples."""
SAME_SEED_SHARE = 0.74
"""Share of the variance that two runs of one seed have in common where they are computed otherwise:
the median over presets, which are from none to all (`benchmarks/same_seed.py`)."""
CHANGE_SIGMA = 0.12
"""What each field that was changed since adds to it."""
DATA_EXPONENT, STEPS_EXPONENT = 0.35, 0.5
NODES = 41
"""Points that the persistent deviation is integrated over."""


@dataclass(frozen=True)
class Curve:
    """What to expect of a run at the end of each of its epochs.

    Args:
        log_errors: Natural logarithm of the expected error (1 - accuracy, or the loss).
        sigmas: Standard deviation of that logarithm.
        source: Where this comes from, for people.
        worth: Runs of the very recipe that would tell as much.
    """

    log_errors: tuple[float, ...]
    sigmas: tuple[float, ...]
    source: str
    worth: float = 1.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Curve:
        """Return the curve of which these are the plain values."""
        lists = (tuple(values["log_errors"]), tuple(values["sigmas"]))
        return cls(*lists, str(values["source"]), float(values["worth"]))

    def arrivals(self, target: Target, seen: Sequence[float] = ()) -> list[float]:
        """Return the probability that each epoch is the first to reach the target.

        Args:
            target: What is to be reached.
            seen: Values of the metric after the epochs done so far; none of them reached it.

        Returns:
            One probability per epoch; those of past epochs are 0, and what is missing to 1 is the
            probability that the run ends without reaching it.
        """
        threshold = log_error(target.metric, target.value)
        deviations = [
            (log_error(target.metric, value) - mean) / sigma
            for value, mean, sigma in zip(seen, self.log_errors, self.sigmas, strict=False)
        ]
        mean, spread = _posterior(deviations)
        normal = NormalDist()
        first = [0.0] * len(self.log_errors)
        for node in range(NODES):
            common = mean + spread * normal.inv_cdf((node + 0.5) / NODES)
            left = 1.0 / NODES
            for epoch in range(len(seen), len(self.log_errors)):
                expected = self.log_errors[epoch] + common * self.sigmas[epoch]
                noise = self.sigmas[epoch] * math.sqrt(1 - PERSISTENT_SHARE)
                reached = normal.cdf((threshold - expected) / noise)
                first[epoch] += left * reached
                left *= 1 - reached
        return first


def _posterior(deviations: Sequence[float]) -> tuple[float, float]:
    """Return mean and deviation of the persistent part, given standardised deviations so far."""
    noise = 1 - PERSISTENT_SHARE
    precision = 1 / PERSISTENT_SHARE + len(deviations) / noise
    return sum(deviations) / noise / precision, math.sqrt(1 / precision)


def log_error(metric: str, value: float) -> float:
    """Return the logarithm of the error that a metric's value stands for."""
    error = 1 - value if metric == "accuracy" else value
    return math.log(max(error, 1e-6))


@cache
def _measured() -> list[dict[str, Any]]:
    text = files("traintime.forecast").joinpath("learning_curves.json").read_text("utf-8")
    return json.loads(text)["curves"]


def expected_curve(recipe: Recipe, metric: str) -> Curve | None:
    """Return what to expect of a recipe, or None if nothing like it was measured.

    A recipe of another length is read at the same share of its schedule; that, and any other change
    that moves the result, widens the interval.
    """
    for measured in _measured():
        if (measured["data"], measured["model"]) == (recipe.data, recipe.model):
            return _adapted(measured, recipe, metric)
    return None


def _adapted(measured: dict[str, Any], recipe: Recipe, metric: str) -> Curve:
    key = "validation_accuracy" if metric == "accuracy" else "validation_loss"
    curves = {run["seed"]: [log_error(metric, v) for v in run[key]] for run in measured["runs"]}
    runs = list(curves.values())
    columns = list(zip(*runs, strict=True))
    means = [sum(column) / len(column) for column in columns]
    sigmas = [max(LEAST_SIGMA, _deviation(column)) for column in columns]
    changed = [
        field
        for field, value in measured["recipe"].items()
        if field not in ("epochs", "seed", "target") and _differs(getattr(recipe, field), value)
    ]
    shift, stretch = _shift(measured, recipe)
    source = f"{len(runs)} runs of the preset, {measured['recipe']['epochs']} epochs"
    own = curves.get(recipe.seed)
    if own and not changed and not stretch:
        means = [m + SAME_SEED_SHARE * (o - m) for m, o in zip(means, own, strict=True)]
        rest = math.sqrt(1 - SAME_SEED_SHARE**2)
        sigmas = [max(LEAST_SIGMA, rest * sigma) for sigma in sigmas]
        source += ", most of all the one of this seed"
    widening = CHANGE_SIGMA * len(changed) + 0.35 * abs(stretch) + 0.5 * shift
    if changed:
        source += f"; changed since: {', '.join(changed)}"
    usual = sum(sigmas) / len(sigmas)
    return Curve(
        tuple(mean + shift for mean in _resampled(means, recipe.epochs)),
        tuple(math.hypot(s, widening) for s in _resampled(sigmas, recipe.epochs)),
        source,
        # The mean of n runs, shifted by something unknown: 1 / (1/n + (widening / usual)²).
        len(runs) / (1 + len(runs) * (widening / usual) ** 2),
    )


def _shift(measured: dict[str, Any], recipe: Recipe) -> tuple[float, float]:
    """Return how much larger the logarithm of the error gets, and of the ratio of the lengths.

    Errors fall as a power of the data, and of the steps while these are few; the exponents are of
    the size that Hestness et al. 2017 ("Deep Learning Scaling is Predictable, Empirically") report.
    """
    stretch = math.log(recipe.epochs / measured["recipe"]["epochs"])
    fewer = 0.0
    if recipe.train_samples:
        fewer = max(0.0, math.log(find(recipe.data).train_samples / recipe.train_samples))
    return DATA_EXPONENT * fewer + STEPS_EXPONENT * max(0.0, -stretch), stretch


def _differs(ours: Any, theirs: Any) -> bool:
    return (list(ours) if isinstance(ours, tuple) else ours) != theirs  # pyright: ignore[reportUnknownArgumentType]


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def _resampled(values: Sequence[float], count: int) -> list[float]:
    """Return `count` values at the same shares of the way, in straight lines between the given."""
    result: list[float] = []
    for index in range(count):
        place = (index + 1) / count * len(values) - 1
        below = max(0, min(len(values) - 1, math.floor(place)))
        above = min(len(values) - 1, below + 1)
        share = min(1.0, max(0.0, place - below))
        result.append(values[below] * (1 - share) + values[above] * share)
    return result
