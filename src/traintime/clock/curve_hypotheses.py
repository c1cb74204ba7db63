"""What is believed of a learning curve before its first evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from traintime.clock.curve_prediction import Array, Expected

Rate = Callable[[float], float] | Sequence[float]

UNKNOWN_MISMATCH = 0.3
"""Root-mean-square difference taken for two learning rates of which one is unknown."""
EXPECTED_WEIGHT = 0.9
"""Trust in earlier runs of the same recipe before any evaluation; taken, not fitted."""
EXPECTED_SHARE, EXPECTED_SIGMA = 0.7, 0.02
"""Of a recipe's spread from run to run, in variance, what stays with the run; and of its b."""


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
        strays: (K,) 1 where misfit, drift and noise come to the shape; 0 where it has its own.
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
    strays: Array
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
        strays=np.append(hypotheses.strays, 0.0),
        noise=noise,
    )


def likeness(rates: Array, ours: Array | None, sigma: float) -> Array:
    """Return factors on the weights of shapes whose learning rates (K, G) were not ours (G,)."""
    if ours is None:
        return np.ones(len(rates))
    mismatch = np.mean((rates - ours) ** 2, axis=1)
    mismatch = np.where(np.isnan(mismatch), UNKNOWN_MISMATCH**2, mismatch)
    return np.exp(-mismatch / (2 * sigma**2))


def sampled(rate: Rate, progress: Array) -> Array:
    """Return a learning rate over its peak at shares of the plan."""
    if callable(rate):
        values = np.array([rate(float(u)) for u in progress])
    else:
        values = np.interp(progress, np.linspace(0.0, 1.0, len(rate)), rate)
    return values / values.max()
