"""How long will it take to train this model, on this machine, to the quality I need?

The library's public face. Names are imported when they are first used, so that `import traintime`
takes milliseconds and a forecast needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from traintime.api.callbacks import Callback
    from traintime.api.demo import demo
    from traintime.api.forecast import forecast, forecast_devices
    from traintime.api.ledger import ledger_summary
    from traintime.api.machine import machine
    from traintime.api.profile import profile_run
    from traintime.api.runs import compare_runs, delete_run, list_runs, resume, show_run
    from traintime.api.steer import steer_run
    from traintime.api.track import track
    from traintime.api.train import TrainResult, train
    from traintime.api.watch import watch_run
    from traintime.clock.eta import Eta
    from traintime.errors import TraintimeError
    from traintime.forecast.device_forecast import DeviceForecast
    from traintime.forecast.forecast import Forecast
    from traintime.hardware.profile import HardwareProfile
    from traintime.recipe import Recipe
    from traintime.recipe.question import Question
    from traintime.units import Interval

_HOMES = {
    "Callback": "traintime.api.callbacks",
    "DeviceForecast": "traintime.forecast.device_forecast",
    "Eta": "traintime.clock.eta",
    "Forecast": "traintime.forecast.forecast",
    "HardwareProfile": "traintime.hardware.profile",
    "Interval": "traintime.units",
    "Question": "traintime.recipe.question",
    "Recipe": "traintime.recipe",
    "TrainResult": "traintime.api.train",
    "TraintimeError": "traintime.errors",
    "compare_runs": "traintime.api.runs",
    "delete_run": "traintime.api.runs",
    "demo": "traintime.api.demo",
    "forecast": "traintime.api.forecast",
    "forecast_devices": "traintime.api.forecast",
    "ledger_summary": "traintime.api.ledger",
    "list_runs": "traintime.api.runs",
    "machine": "traintime.api.machine",
    "profile_run": "traintime.api.profile",
    "resume": "traintime.api.runs",
    "show_run": "traintime.api.runs",
    "steer_run": "traintime.api.steer",
    "track": "traintime.api.track",
    "train": "traintime.api.train",
    "watch_run": "traintime.api.watch",
}

__all__ = [
    "Callback",
    "DeviceForecast",
    "Eta",
    "Forecast",
    "HardwareProfile",
    "Interval",
    "Question",
    "Recipe",
    "TrainResult",
    "TraintimeError",
    "__version__",
    "compare_runs",
    "delete_run",
    "demo",
    "forecast",
    "forecast_devices",
    "ledger_summary",
    "list_runs",
    "machine",
    "profile_run",
    "resume",
    "show_run",
    "steer_run",
    "track",
    "train",
    "watch_run",
]


# Two verbs share their names with packages of ours. Python binds a package to its parent when it is
# first imported, which would hide the verb: so that happens here and is undone.
for _verb in ("forecast", "train"):
    import_module(f"traintime.{_verb}")
    del globals()[_verb]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'traintime' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
