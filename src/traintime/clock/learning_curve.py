"""How a learning curve goes on: when it reaches a target, how likely, and where it ends.

The logarithm of the error, y, is told by what curves of other runs did over the same share u of
their plan. Each hypothesis is one such shape s(u), moved and scaled, plus what it does not explain:

    y(u) = a + b·s(u) + m·misfit + d·drift + noise

The misfit is a share m of how far the run fell itself; the drift a Brownian motion over log(u); the
noise that of a validation. Shapes of runs whose learning rate went another way weigh less. Shapes,
the sizes of b, misfit, drift and noise and, where the plan is not known, its length are all
hypotheses. Each is fitted in closed form (Bayesian linear regression) and weighs by how likely the
evaluations so far were under it. Futures drawn from the mixture say the rest: the share of them
that first reaches a target at an evaluation is the probability of that arrival, and the share that
never does is the chance of failure.

Beside measured shapes stand classical ones under the usual schedules: the power law, Morgan-Mercer-
Flodin and Janoschek (Domhan, Springenberg and Hutter 2015, "Speeding up Automatic Hyperparameter
Optimization of Deep Neural Networks by Extrapolation of Learning Curves", who first weighed such
families by their posterior), to which annealing adds a fall of its own (Tissue, Wang and Wang 2024,
"Scaling Law with Learning Rate Annealing"). `calibration/curve_fit.py` makes `curve_shapes.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traintime.units import Interval

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]
Rate = Callable[[float], float] | Sequence[float]

DRAWS = 500
MOST_SEEN = 24
"""Evaluations that are told apart; more are averaged in bins, so that an update stays short."""
LEAST_WEIGHT = 1e-12
"""Keeps what adds up to nothing from being divided by."""
LEAST_ERROR = 1e-6
"""An error of zero has no logarithm."""
EARLIEST = 0.01
"""Share of the plan before which an evaluation sees an untrained network and tells nothing."""
FALL_FROM, LEAST_FALL = 0.1, 0.01
"""A shape's fall is measured from this share of the plan on; it is taken as this much at least."""
LEVEL_SIGMA = 5.0
"""Of a: nothing is known of an unknown metric's level."""
OFFSET = 0.02
"""Share of the plan below which drift is not faster still."""
NOISES = (0.0005, 0.002, 0.008, 0.03, 0.12)
"""Deviations of one validation's log error that are tried."""
PLANS = np.geomspace(1.05, 30.0, 6)
"""Lengths of an unknown plan that are tried, in units of what has been run."""
WIDENED_AT, UNKNOWN_SHARE = (0.05, 0.10, 0.25, 0.50), 0.25
"""Shares of the plan where intervals are calibrated; and what is taken where no plan is known."""
UNKNOWN_MISMATCH = 0.3
"""Root-mean-square difference taken for two learning rates of which one is unknown."""
ANNEALING_GAINS = (0.5, 2.0)
"""What annealing adds to a classical shape, in units of what the shape falls by itself."""
EXPECTED_WEIGHT = 0.9
"""Trust in earlier runs of the same recipe before any evaluation; taken, not fitted."""
EXPECTED_SHARE, EXPECTED_SIGMA = 0.7, 0.02
"""Of a recipe's spread from run to run, in variance, what stays with the run; and of its b."""


@dataclass(frozen=True)
class Scale:
    """How a metric's value becomes an error.

    Args:
        larger_is_better: As accuracy; a loss, a perplexity or an error rate is not.
        bound: The best value there can be: 1 for a share, 100 for a percentage, 0 for a loss. Where
            a larger value is better and no bound is known, give None: the error is then 1 / value,
            so the metric has to be positive and its gains count as ratios.
    """

    larger_is_better: bool
    bound: float | None = None

    def log_error(self, values: Sequence[float] | Array) -> Array:
        """Return natural logarithms of the errors; the smaller, the better."""
        given = np.asarray(values, dtype=np.float64)
        if self.larger_is_better and self.bound is None:
            if np.any(given <= 0):
                raise ValueError(
                    f"A metric without a bound has to be positive, but is {given.min():g}. "
                    "Give Scale(larger_is_better=True, bound=...) the best value it can have."
                )
            return -np.log(given)
        bound = self.bound or 0.0
        errors = bound - given if self.larger_is_better else given - bound
        return np.log(np.maximum(errors, LEAST_ERROR))

    def value(self, log_errors: Array) -> Array:
        """Return the metric's values that logarithms of errors stand for."""
        if self.larger_is_better and self.bound is None:
            return np.exp(-log_errors)
        bound = self.bound or 0.0
        errors = np.exp(log_errors)
        return bound - errors if self.larger_is_better else bound + errors


ACCURACY, LOSS = Scale(larger_is_better=True, bound=1.0), Scale(larger_is_better=False)


@dataclass(frozen=True)
class Expected:
    """What earlier runs of the same recipe did, such as `forecast.convergence.Curve` knows.

    Args:
        positions: In the unit of the evaluations, ascending, from the first to the last.
        log_errors: Mean there.
        sigmas: Deviation from run to run there.
    """

    positions: Sequence[float]
    log_errors: Sequence[float]
    sigmas: Sequence[float]


@dataclass(frozen=True)
class CurvePrediction:
    """Futures of one run, each as likely as the others.

    Args:
        positions: (F,) of the evaluations ahead.
        log_errors: (N, F) of N futures, with the noise of validations.
        best: The least log error seen so far; infinite if nothing was.
        scale: Of the metric.
        aims: (F,) How likely a target is chosen that is reached there, in any unit.
    """

    positions: Array
    log_errors: Array
    best: float
    scale: Scale
    aims: Array

    def arrivals(self, target: float) -> list[float]:
        """Return the probability of each evaluation ahead to be the first to reach a target.

        What is missing to 1 is the probability of not getting there; a target that was reached
        already has no arrival ahead. That a target was chosen at all tells when it is reached, if
        it is: people choose what takes most of the plan.
        """
        goal = self._goal(target)
        if self.best <= goal:
            return [0.0] * len(self.positions)
        reached = self.log_errors <= goal
        first = np.where(reached.any(axis=1), reached.argmax(axis=1), len(self.positions))
        counts = np.bincount(first, minlength=len(self.positions) + 1)[:-1]
        chance, aimed = counts.sum() / len(reached), counts * self.aims
        return (chance * aimed / max(aimed.sum(), LEAST_WEIGHT)).tolist()

    def arrival(self, target: float, quantile: float = 0.5) -> float:
        """Return the position by which a target is reached with some probability.

        Infinite if it is reached less likely than that; never before the next evaluation.
        """
        reached = np.cumsum(self.arrivals(target))
        first = int(np.searchsorted(reached, quantile))
        return float(self.positions[first]) if first < len(reached) else math.inf

    def chance(self, target: float) -> float:
        """Return the probability that some evaluation reaches a target, those seen included."""
        return 1.0 if self.best <= self._goal(target) else min(1.0, sum(self.arrivals(target)))

    def band(self, level: float = 0.8) -> tuple[Array, Array, Array]:
        """Return low, median and high of the metric's value at each evaluation ahead."""
        tail = (1 - level) / 2
        values = self.scale.value(np.quantile(self.log_errors, [tail, 0.5, 1 - tail], axis=0))
        low, median, high = values[::-1] if self.scale.larger_is_better else values
        return low, median, high

    def final(self, level: float = 0.8) -> Interval:
        """Return the metric's value at the last evaluation ahead."""
        low, median, high = (float(values[-1]) for values in self.band(level))
        return Interval(median, low, high, level)

    def _goal(self, target: float) -> float:
        return float(self.scale.log_error([target])[0])


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
        widening: Factors on the futures' spread at the shares `WIDENED_AT` of the plan, from the
            misses on sources left out.
    """

    falls: tuple[float, ...] = (0.15, 1.0, 2.0)
    fall_sigma: float = 0.5
    misfits: tuple[float, ...] = (0.1, 0.3, 0.9)
    drifts: tuple[float, ...] = (0.003, 0.03)
    rate_sigma: float = 0.1
    classical: float = 1.0
    trust: float = 0.5
    lateness: float = 0.0
    widening: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)


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


@dataclass(frozen=True)
class _Hypotheses:
    """Shapes under each length of the plan, and what is believed before the first evaluation.

    Args:
        plans: (T,) Lengths of the plan.
        shape: Gives (T, K, F) the s at (F,) positions.
        fall: (B, K) means of b.
        fall_sigma: (B, K) deviations of b.
        level_sigma: (K,) deviations of a around 0.
        log_weights: (K,) of the shapes.
        trust: In their likelihoods.
        noise: Gives (F,) deviations of a validation from the expected curve.
    """

    plans: Array
    shape: Callable[[Array], Array]
    fall: Array
    fall_sigma: Array
    level_sigma: Array
    log_weights: Array
    trust: float
    noise: Callable[[Array], Array]


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

        Raises:
            ValueError: Positions do not ascend or the numbers of positions and values differ;
                neither evaluations nor the plan tell the run's length.
        """
        at, to = np.asarray(positions, dtype=np.float64), np.asarray(ahead, dtype=np.float64)
        seen = np.asarray(values, dtype=np.float64)
        _check(at, seen, to, planned)
        told = np.isfinite(seen) & (at > 0)
        at, y = at[told], scale.log_error(seen[told])
        hypotheses = self._hypotheses(float(at[-1]) if len(at) else None, planned, rate, expected)
        late = at >= EARLIEST * hypotheses.plans[0] if planned else at > 0
        paths = self._futures(hypotheses, *_binned(at[late], y[late]), to)
        share = float(at[-1] / planned) if planned and len(at) else UNKNOWN_SHARE
        middle = np.median(paths, axis=0)
        paths = middle + np.interp(share, WIDENED_AT, self.constants.widening) * (paths - middle)
        aims = (to / planned) ** self.constants.lateness if planned else np.ones_like(to)
        return CurvePrediction(to, paths, float(y.min()) if len(y) else math.inf, scale, aims)

    def _hypotheses(
        self,
        done: float | None,
        planned: float | None,
        rate: Rate | None,
        expected: Expected | None,
    ) -> _Hypotheses:
        plans = np.array([planned]) if planned else PLANS * (done or 1.0)
        shapes, constants = self.shapes, self.constants
        ours = np.full(len(shapes.progress), np.nan)
        if rate is not None and planned:
            ours = _sampled(rate, shapes.progress)
        mismatch = np.mean((shapes.rates - ours) ** 2, axis=1)
        mismatch = np.where(np.isnan(mismatch), UNKNOWN_MISMATCH**2, mismatch)
        log_weights = np.log(shapes.weights) - mismatch / (2 * constants.rate_sigma**2)
        log_weights -= np.logaddexp.reduce(log_weights)
        fall = np.array(constants.falls)[:, None] * np.ones(len(shapes.curves))
        fall_sigma = constants.fall_sigma * fall
        level_sigma = np.full(len(shapes.curves), LEVEL_SIGMA)
        if expected:
            one = np.ones((len(fall), 1))
            fall, fall_sigma = np.hstack([fall, one]), np.hstack([fall_sigma, one * EXPECTED_SIGMA])
            spread = float(np.mean(expected.sigmas)) * math.sqrt(EXPECTED_SHARE)
            level_sigma = np.append(level_sigma, spread)
            log_weights += math.log(1 - EXPECTED_WEIGHT)
            log_weights = np.append(log_weights, math.log(EXPECTED_WEIGHT))

        def shape(positions: Array) -> Array:
            values = shapes.at(positions / plans[:, None])
            if expected:
                known = np.interp(positions, expected.positions, expected.log_errors)
                values = np.concatenate([values, np.tile(known, (len(plans), 1, 1))], axis=1)
            return values

        def noise(positions: Array) -> Array:
            if not expected:
                return np.zeros(len(positions))
            sigmas = np.interp(positions, expected.positions, expected.sigmas)
            return sigmas * math.sqrt(1 - EXPECTED_SHARE)

        return _Hypotheses(
            plans, shape, fall, fall_sigma, level_sigma, log_weights, constants.trust, noise
        )

    def _futures(
        self, hypotheses: _Hypotheses, at: Array, y: Array, counts: Array, to: Array
    ) -> Array:
        """Return (N, F) log errors drawn from the posterior mixture."""
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
        posterior = _posterior(covariance, hypotheses.shape(at), y, hypotheses)

        random = np.random.default_rng(0)  # the same evaluations say the same again
        plan, size, which, level, fall = posterior.drawn(random)
        shape = hypotheses.shape(np.append(now, to))[plan, which]
        start = level + fall * shape[:, 0]
        recorded = which < len(self.shapes.curves)  # what is expected brings its own spread
        gain = fall * np.exp(recorded * misfit[size] * random.standard_normal(DRAWS))
        path = start[:, None] + gain[:, None] * (shape[:, 1:] - shape[:, :1])
        moves = random.standard_normal(path.shape) * np.sqrt(np.diff(clock, axis=1))[plan]
        path += (recorded * drift[size])[:, None] * np.cumsum(moves, axis=1)
        noises = np.where(recorded[:, None], noise[size, None], hypotheses.noise(to))
        return path + noises * random.standard_normal(path.shape)


@dataclass(frozen=True)
class _Posterior:
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

    def drawn(self, random: np.random.Generator) -> tuple[Indices, Indices, Indices, Array, Array]:
        """Return plan, size, shape, a and b of N draws."""
        weights = np.exp(self.log_weights - self.log_weights.max()).ravel()
        ticks = (np.arange(DRAWS) + 0.5) / DRAWS
        picked = np.searchsorted(np.cumsum(weights) / weights.sum(), ticks)
        at = np.unravel_index(np.minimum(picked, weights.size - 1), self.log_weights.shape)
        moved = self.fall_sigma[at] * random.standard_normal(DRAWS)
        level = self.level[at] + self.tilt[at] * moved
        level += self.level_sigma[at] * random.standard_normal(DRAWS)
        return at[0], at[1], at[3], level, self.fall[at] + moved


def _posterior(covariance: Array, shape: Array, y: Array, hypotheses: _Hypotheses) -> _Posterior:
    """Return the posterior of y = a + b·s + errors.

    Bayesian linear regression with a known covariance (Rasmussen and Williams 2006, "Gaussian
    Processes for Machine Learning", section 2.7), its two normal equations written out.

    Args:
        covariance: (T, J, n, n) of the errors.
        shape: (T, K, n) s at the evaluations.
        y: (n,) Log errors.
        hypotheses: The prior.
    """
    plans, _, count, _ = covariance.shape
    root = np.linalg.cholesky(covariance)
    columns = np.concatenate([np.swapaxes(shape, 1, 2), np.ones((plans, count, 1))], axis=2)
    columns = np.concatenate([columns, np.tile(y[:, None], (plans, 1, 1))], axis=2)
    white = np.linalg.inv(root) @ columns[:, None]  # (T, J, n, K + 2)
    s, one, z = white[..., :-2], white[..., -2:-1], white[..., -1:]

    def product(left: Array, right: Array) -> Array:
        return np.sum(left * right, axis=2)[:, :, None]  # (T, J, 1, K or 1)

    level_prior, fall_prior = hypotheses.level_sigma**-2, hypotheses.fall_sigma**-2
    aa, ab = product(one, one) + level_prior, product(one, s)
    bb = product(s, s) + fall_prior
    a, b = product(one, z), product(s, z) + fall_prior * hypotheses.fall
    left = bb - ab**2 / aa  # precision of b, whatever a is
    fall = (b - ab * a / aa) / left
    fit = a**2 / aa + left * fall**2 - fall_prior * hypotheses.fall**2 - product(z, z)
    volume = np.log(aa * left / (level_prior * fall_prior))
    spread = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)[:, :, None, None]
    evidence = (fit - volume) / 2 - spread
    of_shape = np.logaddexp.reduce(evidence, axis=(0, 1, 2))
    log_weights = hypotheses.log_weights + evidence - (1 - hypotheses.trust) * of_shape
    every = log_weights.shape
    return _Posterior(
        log_weights,
        np.broadcast_to((a - ab * fall) / aa, every),
        np.broadcast_to(fall, every),
        np.broadcast_to(left**-0.5, every),
        np.broadcast_to(-ab / aa, every),
        np.broadcast_to(aa**-0.5, every),
    )


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


def _sampled(rate: Rate, progress: Array) -> Array:
    """Return a learning rate over its peak at shares of the plan."""
    if callable(rate):
        values = np.array([rate(float(u)) for u in progress])
    else:
        values = np.interp(progress, np.linspace(0.0, 1.0, len(rate)), rate)
    return values / values.max()


def annealed(rates: Array) -> Array:
    """Return how far rates (..., G) have come down from their peak; a warm-up is not annealing."""
    return np.maximum.accumulate(rates, axis=-1) - rates


def _binned(at: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return positions, log errors and counts of at most `MOST_SEEN` groups of evaluations."""
    groups = np.array_split(np.arange(len(at)), min(len(at), MOST_SEEN)) if len(at) else []
    means = [(at[g].mean(), y[g].mean(), float(len(g))) for g in groups]
    columns = np.array(means).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


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
    constants = Constants(**fitted)
    progress, recorded = np.array(stored["progress"]), stored["curves"]
    unknown = [math.nan] * len(progress)
    classical, schedules = classical_shapes(progress)
    curves = np.vstack([[curve["log_errors"] for curve in recorded], classical])
    rates = np.vstack([[curve["rates"] or unknown for curve in recorded], schedules])
    tasks = [curve["task"] for curve in recorded]
    weights = [1 / tasks.count(task) for task in tasks]
    weights += [constants.classical / len(classical)] * len(classical)
    shapes = Shapes(progress, over_fall(progress, curves), rates, np.array(weights))
    return CurveForecaster(shapes, constants)
