"""The forecast verb."""

from __future__ import annotations

from typing import Any

from traintime.api.job import RecipeLike, forecast_known_job, profile_for, read_job
from traintime.api.listener import Listener
from traintime.forecast.forecast import Forecast


def forecast(
    recipe: RecipeLike = None, /, *, listener: Listener | None = None, **fields: Any
) -> Forecast:
    """Return what a training job will take on this machine, without running it.

    Args:
        recipe: A recipe or the path of a YAML file.
        listener: Told if the machine has to be measured first.
        **fields: Recipe fields, for example `data="mnist", model="lenet", target="accuracy:0.99"`.

    Raises:
        InputError: The recipe cannot be done as it was written.
    """
    job = read_job(recipe, fields)
    return forecast_known_job(job, profile_for(job, listener or Listener()))
