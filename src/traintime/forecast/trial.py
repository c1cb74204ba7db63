"""What a few steps, taken right before training or before a forecast, say of the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from traintime.forecast.correction import Correction
from traintime.units import format_duration

TRIAL_SIGMA = 0.1
"""Of the logarithm of a run's steps over the ones tried, on a machine that is steady;
`benchmarks/forecast_check.py` measures it."""


@dataclass(frozen=True)
class Trial:
    """A few steps of a job.

    Args:
        step_s: Seconds of a step, the median of those tried.
        num_steps: Tried and counted.
        elapsed_s: Seconds since the job began, the tried steps included, where its data is prepared
            by now; None where it has not begun.
    """

    step_s: float
    num_steps: int
    elapsed_s: float | None = None

    def correction(self, forecast_step_s: float, unsteadiness: float) -> Correction:
        """Return what a forecast of a step is multiplied by.

        Args:
            forecast_step_s: What a step would have been forecast to take.
            unsteadiness: Of the machine: what it did a moment ago, it may not do the next.
        """
        sigma = math.hypot(TRIAL_SIGMA, unsteadiness)
        return Correction(self.step_s / forecast_step_s, sigma, 0, f"{self.num_steps} steps")

    def said(self, forecast_step_s: float) -> str:
        """Return a line for people.

        Args:
            forecast_step_s: What a step would have been forecast to take.
        """
        when = "here" if self.elapsed_s is None else "right before"
        return (
            f"{self.num_steps} steps were tried {when}, after two that only warm up: "
            f"{format_duration(self.step_s)} each; "
            f"the rates of this machine say {format_duration(forecast_step_s)}"
        )
