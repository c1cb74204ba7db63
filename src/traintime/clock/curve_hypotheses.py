"""What is believed of a learning curve before its first evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from traintime.clock.curve_prediction import Array, Expected
from traintime.clock.watched import Guess

Rate = Callable[[float], float] | Sequence[float]

UNKNOWN_MISMATCH = 0.3
"""Root-mean-square difference taken for two learning rates of which one is unknown."""
EXPECTED_WEIGHT = 0.9
"""Trust in earlier runs of the same recipe before any evaluation; taken, not fitted."""
EXPECTED_SHARE, EXPECTED_SIGMA = 0.7, 0.02
"""Of a recipe's spread from run to run, in variance, what stays with the run; and of its b."""


IMPOSSIBLE = -1e3
"""Logarithm of a probability that nothing makes up for."""
STUCK_WEIGHT = 0.02
"""Trust in a run that learns nothing, before any evaluation; taken, not fitted."""
STUCK_SIGMA, MOST_STUCK_SIGMA = 0.15, 0.03
"""What one way of guessing differs from another by, over its accuracy, and in log error at most;
taken too."""


WOBBLE, WOBBLE_SIGMA = 0.14, 1.33
"""How much the noise of the updates varies from validation to validation, over its mean: a sum of N
squares of normal deviations varies by sqrt(2 / N); N is taken as anything from 1 to 10,000, so this
is the mean of its logarithm, and the deviation of it."""
SAME_TRAINER = 0.5
"""Prior probability, at least, that a run goes as others of its trainer; taken, not fitted."""


@dataclass(frozen=True)
class Hypotheses:
    """Shapes under each length of the plan, and what is believed before the first evaluation.

    Args:
        plans: (T,) Lengths of the plan.
        shape: Gives (T, K, F) the s at (F,) positions.
        excess: Gives (T, K, F) the e at (F,) positions.
        fall: (B, K) means of b.
        fall_sigma: (B, K) deviations of b.
        level_sigma: (K,) deviations of a around 0.
        log_weights: (K,) of the shapes.
        wobbles: (K,) Deviations of a validation that the noise of the updates makes, or NaN.
        strays: (K,) 1 where misfit, drift and noise come to the shape; 0 where it has its own.
        alone: (K,) Deviation of a validation where nothing else comes to the shape, neither misfit
            nor drift; NaN elsewhere.
        trust: In their likelihoods.
        noise: Gives (F,) deviations of a validation from a shape that has its own.
    """

    plans: Array
    shape: Callable[[Array], Array]
    excess: Callable[[Array], Array]
    fall: Array
    fall_sigma: Array
    level_sigma: Array
    log_weights: Array
    wobbles: Array
    strays: Array
    alone: Array
    trust: float
    noise: Callable[[Array], Array]


def with_expected(hypotheses: Hypotheses, expected: Expected) -> Hypotheses:
    """Return hypotheses with one more: that the run goes as earlier ones of its recipe."""
    one = np.ones((len(hypotheses.fall), 1))
    num_plans = len(hypotheses.plans)

    def known(positions: Array) -> Array:
        curve = np.interp(positions, expected.positions, expected.log_errors)
        return np.tile(curve, (num_plans, 1, 1))

    def noise(positions: Array) -> Array:
        sigmas = np.interp(positions, expected.positions, expected.sigmas)
        return sigmas * math.sqrt(1 - EXPECTED_SHARE)

    others = hypotheses.log_weights + math.log(1 - EXPECTED_WEIGHT)
    spread = float(np.mean(expected.sigmas)) * math.sqrt(EXPECTED_SHARE)
    return replace(
        hypotheses,
        shape=lambda at: np.concatenate([hypotheses.shape(at), known(at)], axis=1),
        excess=lambda at: np.concatenate([hypotheses.excess(at), 0 * known(at)], axis=1),
        fall=np.hstack([hypotheses.fall, one]),
        fall_sigma=np.hstack([hypotheses.fall_sigma, one * EXPECTED_SIGMA]),
        level_sigma=np.append(hypotheses.level_sigma, spread),
        log_weights=np.append(others, math.log(EXPECTED_WEIGHT)),
        wobbles=np.append(hypotheses.wobbles, math.nan),
        strays=np.append(hypotheses.strays, 0.0),
        alone=np.append(hypotheses.alone, math.nan),
        noise=noise,
    )


def with_stuck(hypotheses: Hypotheses, guess: Guess) -> Hypotheses:
    """Return hypotheses with one more: that the run learns nothing.

    Hardly a recorded curve does so. What tells it from one that begins late is that its level is
    known.

    Args:
        hypotheses: Those of runs that learn.
        guess: What is right by it.
    """
    share, error = guess.accuracy, 1 - guess.accuracy
    spread = min(STUCK_SIGMA * share / error, MOST_STUCK_SIGMA)
    counted = math.sqrt(share / (error * guess.samples))
    one = np.ones((len(hypotheses.fall), 1))

    def beside(of: Callable[[Array], Array], level: float) -> Callable[[Array], Array]:
        def both(positions: Array) -> Array:
            flat = np.full((len(hypotheses.plans), 1, len(positions)), level)
            return np.concatenate([of(positions), flat], axis=1)

        return both

    others = hypotheses.log_weights + math.log(1 - STUCK_WEIGHT)
    return replace(
        hypotheses,
        shape=beside(hypotheses.shape, 0.0),
        excess=beside(hypotheses.excess, math.log(error)),
        fall=np.hstack([hypotheses.fall, 0 * one]),
        fall_sigma=np.hstack([hypotheses.fall_sigma, one]),
        level_sigma=np.append(hypotheses.level_sigma, spread),
        log_weights=np.append(others, math.log(STUCK_WEIGHT)),
        wobbles=np.append(hypotheses.wobbles, math.nan),
        strays=np.append(hypotheses.strays, 1.0),
        alone=np.append(hypotheses.alone, math.hypot(spread, counted)),
    )


def wobbles_of(excesses: Array) -> Array:
    """Return (K,) deviations of a validation's log error from (K, G) logarithms of the excess."""
    return WOBBLE * -np.expm1(-excesses.max(axis=1))


def noise_prior(noises: Array, wobbles: Array, sampling: float) -> Array:
    """Return (J, K) logarithms of how much likelier a deviation is than if all were as likely.

    What a falling rate will take away makes validations wobble until then: a run whose validations
    do not has little to gain from it, unless it is the sum of very many parts.

    Args:
        noises: (J,) Deviations that are tried.
        wobbles: (K,) What the noise of the updates makes; NaN if unknown.
        sampling: What the number of samples makes.
    """
    expected = np.hypot(np.nan_to_num(wobbles), sampling)
    found = -((np.log(noises[:, None] / expected) / WOBBLE_SIGMA) ** 2) / 2
    found -= np.logaddexp.reduce(found, axis=0) - math.log(len(noises))
    return np.where(np.isnan(wobbles), 0.0, found)


def alone_prior(misfits: Array, drifts: Array, noises: Array, alone: Array) -> Array:
    """Return (J, K) logarithms of how much likelier sizes are than if all were as likely.

    A shape that has noise of its own alone has the least of all else, and of the noises that are
    tried the first that is no less than its own.

    Args:
        misfits: (J,) Of those that are tried.
        drifts: (J,) The same.
        noises: (J,) The same.
        alone: (K,) Own noise; NaN for the other shapes.
    """
    least = (misfits == misfits.min()) & (drifts == drifts.min())
    tried = np.unique(noises)
    own = tried[np.minimum(np.searchsorted(tried, alone), len(tried) - 1)]
    is_own = least[:, None] & (noises[:, None] == own)
    only = np.where(is_own, math.log(len(noises)), IMPOSSIBLE)
    return np.where(np.isnan(alone), 0.0, only)


def likeness(rates: Array, ours: Array | None, sigma: float) -> Array:
    """Return factors on the weights of shapes whose learning rates (K, G) were not ours (G,)."""
    if ours is None:
        return np.ones(len(rates))
    mismatch = np.mean((rates - ours) ** 2, axis=1)
    mismatch = np.where(np.isnan(mismatch), UNKNOWN_MISMATCH**2, mismatch)
    return np.exp(-mismatch / (2 * sigma**2))


def by_trainer(weights: Array, alike: NDArray[np.intp]) -> Array:
    """Return weights (K,) of shapes that sum to 1, some of them of the run's own trainer.

    Args:
        weights: (K,) That sum to 1.
        alike: Places of those of the same trainer.
    """
    share = float(weights[alike].sum())
    if not 0 < share < SAME_TRAINER:
        return weights
    nearer = weights * (1 - SAME_TRAINER) / (1 - share)
    nearer[alike] = weights[alike] * SAME_TRAINER / share
    return nearer


def sampled(rate: Rate, progress: Array) -> Array:
    """Return a learning rate over its peak at shares of the plan."""
    if callable(rate):
        values = np.array([rate(float(u)) for u in progress])
    else:
        values = np.interp(progress, np.linspace(0.0, 1.0, len(rate)), rate)
    return values / values.max()
