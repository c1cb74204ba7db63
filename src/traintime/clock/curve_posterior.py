"""How likely hypotheses about a learning curve are after some evaluations, and what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traintime.clock.curve_hypotheses import Hypotheses
from traintime.clock.curve_prediction import Array

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Posterior:
    """Of a and b under every plan, shape, size of errors and expected fall: all (T, J, B, K).

    Args:
        log_weights: Of each hypothesis.
        level: Mean of a.
        fall: Mean of b.
        fall_sigma: Deviation of b.
        tilt: Change of a's mean with b.
        level_sigma: Deviation of a, b being known.
    """

    log_weights: Array
    level: Array
    fall: Array
    fall_sigma: Array
    tilt: Array
    level_sigma: Array

    def drawn(
        self, random: np.random.Generator, count: int
    ) -> tuple[Indices, Indices, Indices, Array, Array]:
        """Return plan, size, shape, a and b of draws."""
        weights = np.exp(self.log_weights - self.log_weights.max()).ravel()
        ticks = (np.arange(count) + 0.5) / count
        picked = np.searchsorted(np.cumsum(weights) / weights.sum(), ticks)
        at = np.unravel_index(np.minimum(picked, weights.size - 1), self.log_weights.shape)
        moved = self.fall_sigma[at] * random.standard_normal(count)
        level = self.level[at] + self.tilt[at] * moved
        level += self.level_sigma[at] * random.standard_normal(count)
        return at[0], at[1], at[3], level, self.fall[at] + moved


def posterior_of(
    covariance: Array, at: Array, y: Array, hypotheses: Hypotheses, sizes: Array
) -> Posterior:
    """Return the posterior of y = a + b·s + e + errors.

    Bayesian linear regression with a known covariance (Rasmussen and Williams 2006, "Gaussian
    Processes for Machine Learning", section 2.7), its two normal equations written out.

    Args:
        covariance: (T, J, n, n) of the errors.
        at: (n,) Positions of the evaluations.
        y: (n,) Log errors.
        hypotheses: The prior.
        sizes: (J, K) Log weights of the sizes of errors under each shape.
    """
    root = np.linalg.cholesky(covariance)
    shape = np.swapaxes(hypotheses.shape(at), 1, 2)  # (T, n, K)
    left_over = y[:, None] - np.swapaxes(hypotheses.excess(at), 1, 2)
    columns = np.concatenate([shape, left_over, np.ones_like(shape[:, :, :1])], axis=2)
    white = np.linalg.inv(root) @ columns[:, None]  # (T, J, n, 2 K + 1)
    count = shape.shape[2]
    s, z, one = white[..., :count], white[..., count:-1], white[..., -1:]

    def product(left: Array, right: Array) -> Array:
        return np.einsum("tjnk,tjnk->tjk", left, right)[:, :, None]  # (T, J, 1, K)

    across = np.swapaxes(one, 2, 3)  # (T, J, 1, n)
    level_prior, fall_prior = hypotheses.level_sigma**-2, hypotheses.fall_sigma**-2
    aa, ab, a = across @ one + level_prior, across @ s, across @ z
    bb, b = product(s, s) + fall_prior, product(s, z) + fall_prior * hypotheses.fall
    left = bb - ab**2 / aa  # precision of b, whatever a is
    fall = (b - ab * a / aa) / left
    fit = a**2 / aa + left * fall**2 - fall_prior * hypotheses.fall**2 - product(z, z)
    volume = np.log(aa * left / (level_prior * fall_prior))
    spread = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)[:, :, None, None]
    evidence = (fit - volume) / 2 - spread + sizes[:, None]
    of_shape = np.logaddexp.reduce(evidence, axis=(0, 1, 2))
    log_weights = hypotheses.log_weights + evidence - (1 - hypotheses.trust) * of_shape
    every = log_weights.shape
    return Posterior(
        log_weights,
        np.broadcast_to((a - ab * fall) / aa, every),
        np.broadcast_to(fall, every),
        np.broadcast_to(left**-0.5, every),
        np.broadcast_to(-ab / aa, every),
        np.broadcast_to(aa**-0.5, every),
    )
