"""What a few steps, taken right before training, say of the rest."""

from __future__ import annotations

from dataclasses import dataclass

from traintime.forecast.correction import Correction
from traintime.units import format_duration

TRIAL_SIGMA = 0.15
"""Of the logarithm of a run's steps over the ones tried; `benchmarks/forecast_check.py` measures
it. Most of it is a shared machine, which is not the same machine a few seconds later."""


@dataclass(frozen=True)
class Trial:
    """A job right before it is trained: its data is prepared, and a few steps were tried.

    Args:
        elapsed_s: Seconds since the job began, the tried steps included.
        step_s: Seconds of a step, the median of those tried.
        num_steps: Tried and counted.
    """

    elapsed_s: float
    step_s: float
    num_steps: int

    def correction(self, forecast_step_s: float) -> Correction:
        """Return what a forecast of a step is multiplied by."""
        return Correction(self.step_s / forecast_step_s, TRIAL_SIGMA, 0, f"{self.num_steps} steps")

    def said(self, forecast_step_s: float) -> str:
        """Return a line for people.

        Args:
            forecast_step_s: What a step would have been forecast to take.
        """
        return (
            f"{self.num_steps} steps were tried right before: {format_duration(self.step_s)} each; "
            f"the rates of this machine say {format_duration(forecast_step_s)}"
        )
