"""How a run's validations are likely to go on, and where that lets it end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from traintime.clock.curve_prediction import ACCURACY, LOSS, CurvePrediction, Expected
from traintime.clock.learning_curve import TRAINER, forecaster
from traintime.clock.watched import Watched
from traintime.forecast.convergence import Curve
from traintime.units import Interval

MOST_AHEAD = 64
"""Validations to come that are told apart; of more, evenly many are looked at."""


@dataclass(frozen=True)
class Outlook:
    """What is likely at the validations to come.

    Args:
        epochs: Epochs done at each of them.
        arrivals: Probability that each is the first to reach the target; None without a target.
        endings: Probability that the run ends there: at the target, by early stopping, or at its
            end; they sum to 1.
        chance_to_improve: Probability that any of them is better than the best so far.
        final: The metric's value at the last one.
        tail: As `CurvePrediction.tail`.
    """

    epochs: tuple[float, ...]
    arrivals: tuple[float, ...] | None
    endings: tuple[float, ...]
    chance_to_improve: float
    final: Interval
    tail: float = 0.1

    @property
    def chance(self) -> float | None:
        """Probability of reaching the target in this run."""
        return None if self.arrivals is None else min(1.0, sum(self.arrivals))


def look_ahead(
    watched: Watched,
    seen: Sequence[float],
    last_epoch: float,
    curve: Curve | None = None,
    epochs: Sequence[float] = (),
) -> Outlook:
    """Return how a run is likely to go on.

    Args:
        watched: Of the validations.
        seen: Validations so far.
        last_epoch: Where the run ends if nothing ends it before; a part of an epoch counts.
        curve: What earlier runs of such a recipe did over their epochs.
        epochs: Done at each validation; one, two, three and so on if they are not given.
    """
    at = epochs or range(1, len(seen) + 1)
    done = at[-1] if seen else 0
    last = max(last_epoch, done + 1e-3)
    whole = [float(n) for n in range(math.floor(done) + 1, math.floor(last) + 1)]
    ahead = _thinned(whole if whole and last - whole[-1] < 1e-6 else [*whole, last])
    prediction = forecaster().predict(
        at,
        seen,
        ahead,
        ACCURACY if watched.metric == "accuracy" else LOSS,
        planned=last,
        rate=watched.rate,
        trainer=TRAINER if watched.is_ours and watched.metric == "accuracy" else None,
        expected=_expected(curve, last),
        guess=watched.guess if watched.metric == "accuracy" else None,
    )
    arrivals = None if watched.target is None else tuple(prediction.arrivals(watched.target))
    return Outlook(
        epochs=tuple(ahead),
        arrivals=arrivals,
        endings=tuple(_endings(watched, at, seen, prediction)),
        chance_to_improve=prediction.chance_to_improve(),
        final=prediction.final(),
        tail=prediction.tail,
    )


def _thinned(ahead: list[float]) -> list[float]:
    """Return evenly many of the positions, always with the next and the last."""
    if len(ahead) <= MOST_AHEAD:
        return ahead
    return [ahead[round(n * (len(ahead) - 1) / (MOST_AHEAD - 1))] for n in range(MOST_AHEAD)]


def _expected(curve: Curve | None, last: float) -> Expected | None:
    if curve is None:
        return None
    epochs = len(curve.log_errors)
    positions = [n * last / epochs for n in range(1, epochs + 1)]
    return Expected(positions, curve.log_errors, curve.sigmas)


def _endings(
    watched: Watched, at: Sequence[float], seen: Sequence[float], prediction: CurvePrediction
) -> Sequence[float]:
    """Return the share of futures that end at each validation."""
    errors, positions = prediction.log_errors, prediction.positions
    count = len(positions)
    ends = np.full(len(errors), count - 1)
    if watched.target is not None:
        ends = np.minimum(ends, prediction.first(watched.target))
    if watched.patience and seen:
        past = prediction.scale.log_error(seen)
        best_at = float(at[int(np.argmin(past))])
        bests = np.minimum.accumulate(np.hstack([np.full((len(errors), 1), past.min()), errors]), 1)
        improves = errors < bests[:, :-1]
        since = np.maximum.accumulate(np.where(improves, positions, best_at), axis=1)
        stale = positions - since >= watched.patience
        ends = np.minimum(ends, np.where(stale.any(axis=1), stale.argmax(axis=1), count - 1))
    return np.bincount(ends, prediction.weights(watched.target), count).tolist()
