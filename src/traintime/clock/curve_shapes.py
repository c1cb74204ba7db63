"""What learning curves look like over their plan, recorded ones and classical ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from traintime.clock.curve_prediction import Array

FALL_FROM, LEAST_FALL = 0.1, 0.01
"""A shape's fall is measured from this share of the plan on; it is taken as this much at least."""
ANNEALING_GAINS = (0.5, 2.0)
"""What annealing adds to a classical shape, in units of what the shape falls by itself."""


@dataclass(frozen=True)
class Shapes:
    """Curves of other runs over their plan.

    Args:
        progress: (G,) Shares of the plan, ascending to 1.
        curves: (K, G) Log errors of K runs, without the noise of validations, over their fall from
            a tenth of the plan to its end.
        rates: (K, G) Learning rates over their peak; NaN where unknown.
        weights: (K,) Prior probabilities, in any unit.
    """

    progress: Array
    curves: Array
    rates: Array
    weights: Array

    def at(self, progress: Array) -> Array:
        """Return (T, K, F) log errors at (T, F) shares of a plan, held beyond its ends."""
        right = np.clip(np.searchsorted(self.progress, progress), 1, len(self.progress) - 1)
        before, after = self.progress[right - 1], self.progress[right]
        share = np.clip((progress - before) / (after - before), 0.0, 1.0)
        values = self.curves[:, right - 1] * (1 - share) + self.curves[:, right] * share
        return np.moveaxis(values, 0, 1)


def annealed(rates: Array) -> Array:
    """Return how far rates (..., G) have come down from their peak; a warm-up is not annealing."""
    return np.maximum.accumulate(rates, axis=-1) - rates


def classical_shapes(progress: Array) -> tuple[Array, Array]:
    """Return (K, G) log errors and rates of the classical curves under the usual schedules.

    The power law, Morgan-Mercer-Flodin and Janoschek, which Domhan et al. 2015 call pow3, mmf4 and
    janoschek, are taken at a constant rate; what each schedule's annealing takes off comes to that.
    """
    u = progress
    steady = [-np.log(u + 0.001) / 2]
    for half in (0.03, 0.1, 0.3):
        steady += [-(u**1.5) / (u**1.5 + half**1.5), np.expm1(-u / half)]
    pairs = [(curve, np.ones_like(u)) for curve in steady]
    for rate in (
        1 - u,
        (1 + np.cos(np.pi * u)) / 2,
        np.minimum(1.0, (1 - u) / 0.4),
        0.1 ** (1.0 * (u > 1 / 2) + (u > 3 / 4)),
        0.1 ** (1.0 * (u > 1 / 3) + (u > 2 / 3) + (u > 8 / 9)),
    ):
        pairs += [(c - g * annealed(rate), rate) for c in steady for g in ANNEALING_GAINS]
    curves, rates = zip(*pairs, strict=True)
    return np.array(curves), np.array(rates)


def over_fall(progress: Array, curves: Array) -> Array:
    """Return curves over their fall from a tenth of the plan to its end."""
    late = curves[:, progress >= FALL_FROM]
    return curves / np.maximum(late.max(axis=1) - late.min(axis=1), LEAST_FALL)[:, None]
