"""How a learning curve goes on: when it reaches a target, how likely, and where it ends.

The logarithm of the error, y, is told by what curves of other runs did over the same share u of
their plan. Each hypothesis is one such shape s(u), moved and scaled, plus what it does not explain:

    y(u) = a + b·s(u) + e(u) + m·misfit + d·drift + noise

The excess e is what the noise of the updates adds at the learning rate of the moment; shapes of
recorded runs hold their own. The misfit is a share m of how far the run fell itself; the drift a
Brownian motion over log(u); the noise that of a validation. Shapes of runs whose learning rate went
another way weigh less, and so do excesses that would make validations wobble otherwise than they
do. Shapes, the sizes of b, excess, misfit, drift and noise and, where the plan is not known, its
length are all hypotheses. Each is fitted in closed form (Bayesian linear regression) and weighs by
how likely the evaluations so far were under it. Futures drawn from the mixture, each as likely as
its run would have been given the target (`Aims`), say when it is reached and how likely.

Beside measured shapes stand classical ones under the run's own learning rate: the power law,
Morgan-Mercer-Flodin and Janoschek (Domhan, Springenberg and Hutter 2015, "Speeding up Automatic
Hyperparameter Optimization of Deep Neural Networks by Extrapolation of Learning Curves", who first
weighed such families by their posterior). Where it is known what guessing gives, a run may also
learn nothing. `calibration/curve_fit.py` makes `curve_shapes.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from traintime.clock.curve_hypotheses import (
    Hypotheses,
    Rate,
    alone_prior,
    by_trainer,
    likeness,
    noise_prior,
    sampled,
    with_expected,
    with_stuck,
    wobbles_of,
)
from traintime.clock.curve_posterior import Indices, posterior_of
from traintime.clock.curve_prediction import Aims, Array, CurvePrediction, Expected, Scale
from traintime.clock.curve_shapes import FALL_FROM, Shapes, classical_shapes, read_at, read_shapes
from traintime.clock.watched import Guess

MOST_SEEN = 24
"""Evaluations that are told apart; more are averaged in bins, so that an update stays short."""
EARLIEST = 0.01
"""Share of the plan before which an evaluation sees an untrained network and tells nothing."""
LEVEL_SIGMA = 5.0
"""Of a: nothing is known of an unknown metric's level."""
OFFSET = 0.02
"""Share of the plan below which drift is not faster still."""
NOISES = (0.0005, 0.002, 0.008, 0.03, 0.12)
"""Deviations of one validation's log error that are tried."""
PLANS = np.geomspace(1.05, 30.0, 6)
"""Lengths of an unknown plan that are tried, in units of what has been run."""
DRAWS, VALUES = (500, 2_000), 250_000
"""Futures that are drawn, at least and at most, and values of them all that are enough."""
WIDENED_AT, UNKNOWN_SHARE = (0.05, 0.10, 0.25, 0.50), 0.25
"""Shares of the plan where intervals are calibrated; and what is taken where no plan is known."""


TRAINER = "recorded here"
"""Whose shapes are of runs that traintime trained; of their validation accuracy."""


@dataclass(frozen=True)
class Constants:
    """What was fitted to recorded curves.

    Args:
        falls: Values about which b is expected: the fall of the log error from a tenth of the plan
            to its end, which is small for a BLEU score and large for a top-5 error.
        fall_sigma: Deviation of b, over that value.
        misfits: Values of m that are tried.
        drifts: Values of d that are tried.
        rate_sigma: Root-mean-square difference of two learning rates that makes a shape unlikely.
        classical: Trust in the classical shapes, over that in the shapes of one recorded task.
        trust: Power that the likelihood of a shape is taken to. How well a shape fits the past says
            less of the future than independent evaluations would; 1 is Bayes' rule.
        lateness: Power of the share of the plan that official targets are reached by.
        closeness: Deviation of official targets from what runs reached when they are meant to be,
            over what was gained from a tenth of the plan on.
        strays: Share of targets that are chosen without knowing what the run will do.
        widening: Factors on the futures' spread at the shares `WIDENED_AT` of the plan, from the
            misses on sources left out.
        tails: Probabilities at these shares that are left out on each side of when a target is
            reached, so that four in five times of sources left out lie between.
    """

    falls: tuple[float, ...] = (0.15, 1.0, 2.0)
    fall_sigma: float = 0.5
    misfits: tuple[float, ...] = (0.1, 0.3, 0.9)
    drifts: tuple[float, ...] = (0.003, 0.03)
    rate_sigma: float = 0.1
    classical: float = 1.0
    trust: float = 0.5
    lateness: float = 0.0
    closeness: float = 0.05
    strays: float = 0.2
    widening: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    tails: tuple[float, ...] = (0.1, 0.1, 0.1, 0.1)


@dataclass(frozen=True)
class CurveForecaster:
    """Extrapolates learning curves.

    Args:
        shapes: What curves look like.
        constants: How far they are to be trusted.
    """

    shapes: Shapes
    constants: Constants = Constants()

    def predict(
        self,
        positions: Sequence[float],
        values: Sequence[float],
        ahead: Sequence[float],
        scale: Scale,
        planned: float | None = None,
        rate: Rate | None = None,
        expected: Expected | None = None,
        trainer: str | None = None,
        guess: Guess | None = None,
    ) -> CurvePrediction:
        """Return futures of a run at evaluations that are still to come.

        Args:
            positions: (n,) Of the evaluations so far, in steps, epochs or any unit that is
                proportional to the work done; ascending. There may be none.
            values: (n,) Of the metric. What is not finite is left out: it says nothing of the rest.
            ahead: (F,) Positions of the evaluations to come, ascending, after the others.
            scale: Of the metric.
            planned: Position of the end of the plan, which is where the learning rate's schedule
                ends; None if that is not known.
            rate: Learning rate over its peak against the share of the plan (0 to 1), as a function
                or sampled evenly; None if not known. Without `planned` it says nothing.
            expected: What earlier runs of the same recipe did.
            trainer: Whose shapes are of runs by the same program; None if there are none. Without
                `planned` it says nothing.
            guess: What guessing gives; None if it is not known, or the metric is no accuracy.

        Raises:
            ValueError: Positions do not ascend or the numbers of positions and values differ;
                neither evaluations nor the plan tell the run's length.
        """
        at, to = np.asarray(positions, dtype=np.float64), np.asarray(ahead, dtype=np.float64)
        seen = np.asarray(values, dtype=np.float64)
        _check(at, seen, to, planned)
        told = np.isfinite(seen) & (at > 0)
        at, y = at[told], scale.log_error(seen[told])
        done = float(at[-1]) if len(at) else None
        hypotheses = self._hypotheses(done, planned, rate, trainer if planned else None)
        if expected:
            hypotheses = with_expected(hypotheses, expected)
        if guess:
            hypotheses = with_stuck(hypotheses, guess)
        late = at >= EARLIEST * hypotheses.plans[0] if planned else at > 0
        sampling = max(NOISES[0], scale.sampling_noise(seen[told]))
        paths, which = self._futures(hypotheses, *_binned(at[late], y[late]), to, sampling)
        stuck = which == len(hypotheses.log_weights) - 1 if guess else None
        share = float(at[-1] / planned) if planned and len(at) else UNKNOWN_SHARE
        middle = np.median(paths, axis=0)
        paths = middle + np.interp(share, WIDENED_AT, self.constants.widening) * (paths - middle)
        aims = self._aims(at, y, to, planned) if planned and len(y) else None
        best = float(y.min()) if len(y) else math.inf
        tail = float(np.interp(share, WIDENED_AT, self.constants.tails))
        return CurvePrediction(to, paths, best, scale, aims, stuck, tail)

    def _aims(self, at: Array, y: Array, to: Array, planned: float) -> Aims:
        u = np.concatenate([at[-1:], to]) / planned
        shares = u[1:] ** self.constants.lateness * np.diff(u) * (1 + self.constants.lateness)
        gained_from = float(np.interp(FALL_FROM * planned, at, y))
        return Aims(shares, gained_from, self.constants.closeness, self.constants.strays)

    def _hypotheses(
        self,
        done: float | None,
        planned: float | None,
        rate: Rate | None,
        trainer: str | None,
    ) -> Hypotheses:
        plans = np.array([planned]) if planned else PLANS * (done or 1.0)
        shapes, constants = self.shapes, self.constants
        ours = sampled(rate, shapes.progress) if rate is not None and planned else None
        classical = classical_shapes(shapes.progress, ours)
        curves = np.concatenate([shapes.curves, classical.curves])
        excesses = np.concatenate([np.zeros_like(shapes.curves), classical.excesses])
        weights = np.append(
            shapes.weights * likeness(shapes.rates, ours, constants.rate_sigma),
            constants.classical * classical.weights,
        )
        weights = by_trainer(weights / weights.sum(), shapes.of(trainer))
        fall = np.array(constants.falls)[:, None] * np.ones(len(curves))
        return Hypotheses(
            plans,
            lambda positions: read_at(shapes.progress, curves, positions / plans[:, None]),
            lambda positions: read_at(shapes.progress, excesses, positions / plans[:, None]),
            fall,
            constants.fall_sigma * fall,
            np.full(len(curves), LEVEL_SIGMA),
            np.log(weights),
            np.append(np.full(len(shapes.curves), math.nan), wobbles_of(classical.excesses)),
            np.ones(len(curves)),
            np.full(len(curves), math.nan),
            constants.trust,
            lambda positions: np.zeros(len(positions)),
        )

    def _futures(
        self,
        hypotheses: Hypotheses,
        at: Array,
        y: Array,
        counts: Array,
        to: Array,
        sampling: float,
    ) -> tuple[Array, Indices]:
        """Return (N, F) log errors drawn from the posterior mixture, and (N,) their shapes."""
        constants, plans = self.constants, hypotheses.plans
        sizes = np.meshgrid(constants.misfits, constants.drifts, NOISES, indexing="ij")
        misfit, drift, noise = (size.ravel() for size in sizes)  # (J,)
        now = at[-1:] if len(at) else np.zeros(1)
        clock = np.log(np.append(now, to) / plans[:, None] + OFFSET)  # (T, 1 + F)
        back = clock[:, :1] - np.log(at / plans[:, None] + OFFSET)  # (T, n)
        covariance = (
            _square(misfit) * _brownian(_fallen(y) ** 2)
            + _square(drift) * _brownian(back)[:, None]
            + _square(noise) * np.diag(1 / counts)
        )
        likely = noise_prior(noise, hypotheses.wobbles, sampling)
        likely = likely + alone_prior(misfit, drift, noise, hypotheses.alone)
        posterior = posterior_of(covariance, at, y, hypotheses, likely)

        random = np.random.default_rng(0)  # the same evaluations say the same again
        draws = int(np.clip(VALUES / len(to), *DRAWS))
        plan, size, which, level, fall = posterior.drawn(random, draws)
        shape = hypotheses.shape(np.append(now, to))[plan, which]
        excess = hypotheses.excess(np.append(now, to))[plan, which]
        known = fall[:, None] * shape + excess
        strays = hypotheses.strays[which]
        gain = np.exp(strays * misfit[size] * random.standard_normal(draws))
        path = level[:, None] + known[:, :1] + gain[:, None] * (known[:, 1:] - known[:, :1])
        moves = random.standard_normal(path.shape) * np.sqrt(np.diff(clock, axis=1))[plan]
        path += (strays * drift[size])[:, None] * np.cumsum(moves, axis=1)
        noises = np.where(strays[:, None] > 0, noise[size, None], hypotheses.noise(to))
        return path + noises * random.standard_normal(path.shape), which


def _square(sizes: Array) -> Array:
    return sizes[:, None, None] ** 2


def _brownian(distance: Array) -> Array:
    """Return (..., n, n) covariances of a Brownian motion at distances from where it is 0."""
    return np.minimum(distance[..., :, None], distance[..., None, :])


def _fallen(y: Array) -> Array:
    """Return how far the log error has fallen since each evaluation, freed of most of its noise.

    The misfit is measured by this and not by the fall of a shape, which would take a covariance for
    each of them.
    """
    if not len(y):
        return y
    padded = np.pad(y, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return np.maximum.accumulate(np.abs(smooth - smooth[-1:])[::-1])[::-1]


def _check(at: Array, seen: Array, to: Array, planned: float | None) -> None:
    if len(at) != len(seen):
        raise ValueError(f"{len(at)} positions do not fit {len(seen)} values: give one of each.")
    if not len(to):
        raise ValueError("No evaluation is ahead: give at least the position of the last one.")
    every = np.concatenate([at, to])
    if not np.all(np.isfinite(every)) or np.any(np.diff(every) <= 0):
        raise ValueError(
            f"Positions have to ascend from the first evaluation to the last, but are {every}."
        )
    if planned is not None and not (math.isfinite(planned) and planned > 0):
        raise ValueError(f"The planned length has to be positive, but is {planned}.")
    if planned is None and not np.any(np.isfinite(seen) & (at > 0)):
        raise ValueError("With no evaluation so far, `planned` has to say how long the run is.")


def _binned(at: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return positions, log errors and counts of at most `MOST_SEEN` groups of evaluations."""
    groups = np.array_split(np.arange(len(at)), min(len(at), MOST_SEEN)) if len(at) else []
    means = [(at[g].mean(), y[g].mean(), float(len(g))) for g in groups]
    columns = np.array(means).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


@cache
def forecaster() -> CurveForecaster:
    """Return the forecaster with the shapes and constants that traintime ships."""
    text = files("traintime.clock").joinpath("curve_shapes.json").read_text("utf-8")
    return read(json.loads(text))


def read(stored: dict[str, Any]) -> CurveForecaster:
    """Return the forecaster that a file of `calibration/curve_fit.py` describes."""
    fitted: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored["constants"].items()
    }
    shapes = read_shapes(stored["progress"], stored["curves"])
    return CurveForecaster(shapes, Constants(**fitted))
