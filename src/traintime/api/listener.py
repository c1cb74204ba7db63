"""What a verb tells while it works; the command line draws it, a script may ignore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traintime.clock.eta import Clock
    from traintime.forecast.forecast import Forecast
    from traintime.recipe import Recipe
    from traintime.train.records import Observer


class Listener:
    """Hears of every stage of a verb; each hook does nothing unless it is overridden."""

    def say(self, line: str) -> None:
        """Called with a line worth knowing, such as where data comes from."""

    def on_measuring(self, what: str, share: float) -> None:
        """Called while the machine is measured, with the share that is done."""

    def on_preparing(self, recipe: Recipe) -> None:
        """Called before the data is read and steps are tried, if the forecast waits for that."""

    def on_forecast(self, recipe: Recipe, forecast: Forecast, folder: Path) -> None:
        """Called once the forecast is made, before anything is trained."""

    def on_trial(self, forecast: Forecast) -> None:
        """Called if steps were tried after that, with the forecast that they lead to."""

    def observers(self, recipe: Recipe, clock: Clock) -> list[Observer]:
        """Return who follows the training; the clock is called before each of them."""
        return []

    def on_testing(self, samples: int) -> None:
        """Called before the trained model is judged."""
