"""What would use a budget better: another network, or another batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from traintime.architecture import NETWORKS
from traintime.forecast.convergence import expected_curve
from traintime.forecast.forecast import Forecast
from traintime.recipe import Recipe
from traintime.units import format_percent

BATCH_FACTORS = (2, 4)
WORTH_SAYING = 1.25
"""Times as many epochs, or times as small an error, from which an alternative is named."""


NOT_OF_NETWORK = {
    *("data", "label", "image_size", "max_damaged", "seed", "train_samples", "split", "validation"),
    *("validate_on", "budget", "device"),
}
"""Fields that another network leaves as they are."""
Forecaster = Callable[[Mapping[str, Any]], tuple[Recipe, Forecast] | None]
"""Makes recipe and forecast of fields; None for a job that cannot be done."""


def budget_advice(recipe: Recipe, forecast: Forecast, forecaster: Forecaster) -> Iterator[str]:
    """Yield alternatives that are expected to make more of a recipe's budget.

    Args:
        recipe: With a budget.
        forecast: Of it.
        forecaster: Of other recipes for the same device.
    """
    yield from _networks(recipe, forecast, forecaster)
    yield from _batch_sizes(recipe, forecast, forecaster)


def _networks(recipe: Recipe, forecast: Forecast, forecaster: Forecaster) -> Iterator[str]:
    ours = _final_error(recipe, forecast)
    if ours is None:
        return
    alike = recipe.model_dump(include=NOT_OF_NETWORK)
    for model in NETWORKS:
        other = forecaster({**alike, "model": model}) if model != recipe.model else None
        error = _final_error(*other) if other else None
        if other and error and ours > WORTH_SAYING * error:
            yield (
                f"model={model} would end at about {format_percent(1 - error)} after "
                f"{other[1].epochs} epochs, where {recipe.model} is expected to end at "
                f"{format_percent(1 - ours)}"
            )


def _batch_sizes(recipe: Recipe, forecast: Forecast, forecaster: Forecaster) -> Iterator[str]:
    for factor in BATCH_FACTORS:
        size = factor * recipe.batch_size
        other = forecaster({**recipe.model_dump(exclude={"lr"}), "batch_size": size})
        if other and other[1].epochs > WORTH_SAYING * forecast.epochs:
            yield (
                f"batch_size={size} would fit {other[1].epochs} epochs into it instead of "
                f"{forecast.epochs}; what fewer updates an epoch cost is not known"
            )
            return


def _final_error(recipe: Recipe, forecast: Forecast) -> float | None:
    """Return the share of mistakes that is expected at the end of the budget."""
    planned = recipe.model_copy(update={"epochs": forecast.epochs})
    curve = expected_curve(planned, "accuracy")
    return math.exp(curve.log_errors[-1]) if curve else None
