"""Widths of intervals from the errors that forecasts had on what they were not fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist


def conformal_quantile(scores: Iterable[float], level: float = 0.8) -> float:
    """Return what a further score stays below with probability `level`, all being exchangeable.

    The ⌈(n+1)·level⌉-th smallest (split conformal prediction: Vovk, Gammerman and Shafer,
    Algorithmic Learning in a Random World, 2005); the largest where n is too small for that.

    Raises:
        ValueError: There is no score.
    """
    ordered = sorted(scores)
    if not ordered:
        raise ValueError("no scores to take a quantile of")
    return ordered[min(len(ordered), math.ceil((len(ordered) + 1) * level)) - 1]


def conformal_sigma(log_errors: Iterable[float], level: float = 0.8) -> float:
    """Return the σ of the log-normal interval that covers `level` of errors such as these.

    Args:
        log_errors: log(forecast / actual) of what was left out of the fit.
        level: Of the central interval.
    """
    width = conformal_quantile(map(abs, log_errors), level)
    return width / NormalDist().inv_cdf(0.5 + level / 2)
