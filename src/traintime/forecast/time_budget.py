"""What fits into the time that there is."""

from __future__ import annotations

import math
from collections.abc import Mapping

from traintime.recipe.budget import Budget
from traintime.units import Interval, format_percent


def fitting_epochs(
    left_s: float, steps_per_epoch: int, step_s: float, validate_s: float, finish_s: float
) -> float:
    """Return how many epochs fit, the last one as the share of it that does.

    Args:
        left_s: From the first step to the deadline.
        steps_per_epoch: Optimizer steps.
        step_s: Seconds of one.
        validate_s: Of a validation; each epoch ends with one, the last one too.
        finish_s: From the last validation to the result.
    """
    epoch_s = steps_per_epoch * step_s
    whole, rest_s = divmod(max(0.0, left_s - finish_s), epoch_s + validate_s)
    return whole + min(1.0, max(0.0, rest_s - validate_s) / epoch_s)


def with_all_time_used(stages: Mapping[str, Interval], budget_s: float) -> Mapping[str, Interval]:
    """Return stages of which training takes what the others leave."""
    others = [stages[name] for name in ("prepare", "validate", "evaluate")]
    train_s = max(budget_s - sum(stage.median for stage in others), budget_s / 100)
    unknown_s = math.hypot(*(stage.median * stage.sigma for stage in others))
    return {**stages, "train": Interval.lognormal(train_s, min(unknown_s / train_s, 1.0))}


def budget_line(budget: Budget, fitting: float) -> str:
    """Return what a forecast says of a budget that so many epochs fit into."""
    epochs = f"about {round(fitting)} epoch{'s' * (round(fitting) > 1)}"
    enough = epochs if fitting >= 1 else f"{format_percent(fitting, 0)} of one epoch"
    return (
        f"the result is there {budget.in_words()}, whatever a step takes: the learning rate "
        f"follows the time, which is enough for {enough}"
    )
