"""Forecasts that stand on steps taken right before training."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

import traintime
from tests.data.tables import loans
from traintime import Forecast
from traintime.api import trial
from traintime.api.listener import Listener
from traintime.data.input_plan import InputPlan
from traintime.errors import InputError
from traintime.forecast.trial import TRIAL_SIGMA
from traintime.recipe import Recipe

from .known_machine import QUICK

LONGER = QUICK | {"epochs": 6}
"""120 steps: enough to be tried."""


class Told(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Ear(Listener):
    def __init__(self) -> None:
        self.forecasts: list[tuple[str, Forecast]] = []

    def on_forecast(self, recipe: Recipe, forecast: Forecast, folder: Path) -> None:
        self.forecasts.append(("forecast", forecast))

    def on_trial(self, forecast: Forecast) -> None:
        self.forecasts.append(("trial", forecast))


def weights(result: traintime.TrainResult) -> dict[str, bytes]:
    tensors = load_file(result.folder / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def test_what_is_promised_stands_on_steps_taken_right_before():
    ear = Ear()
    result = traintime.train(**LONGER, listener=ear)
    ((hook, told),) = ear.forecasts
    assert hook == "forecast"
    assert told == result.forecast
    assert told.evidence == "run on this machine"
    assert "steps were tried right before" in told.assumptions[0]
    assert told.step_time_s.sigma == pytest.approx(TRIAL_SIGMA)
    assert told.stages_s["prepare"].median < result.seconds["prepare"] + 0.2
    on_disk = json.loads((result.folder / "forecast.json").read_text())
    assert Forecast.from_json(on_disk) == told
    (row,) = traintime.list_runs()
    assert (row.forecast_s, row.evidence) == (told.total_s.median, "run on this machine")
    by_rates = traintime.forecast(**LONGER)
    assert isinstance(by_rates, Forecast)
    assert row.uncorrected_step_s == pytest.approx(by_rates.uncorrected_step_s)


def test_trying_changes_no_bit_of_what_is_learned(monkeypatch: pytest.MonkeyPatch):
    fields = LONGER | {"dropout": 0.2, "batch_norm": True}
    tried = traintime.train(**fields)
    monkeypatch.setattr(trial, "LEAST_STEPS_OF_RUN", 10**9)
    untried = traintime.train(**fields)
    assert (tried.forecast.evidence, untried.forecast.evidence) == (
        "run on this machine",
        "measured on this machine",
    )
    assert weights(tried) == weights(untried)


def test_a_run_that_is_over_at_once_is_not_tried():
    result = traintime.train(**QUICK)
    assert result.forecast.evidence == "measured on this machine"


def test_where_data_has_to_be_fetched_the_forecast_comes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("traintime.data.fetch.check_cached", lambda name: False)
    ear = Ear()
    result = traintime.train(**LONGER, listener=ear)
    (first, by_rates), (second, told) = ear.forecasts
    assert (first, second) == ("forecast", "trial")
    assert by_rates.evidence == "measured on this machine"
    assert told == result.forecast


def test_a_run_without_memory_for_trying_keeps_its_forecast(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(trial, "time_steps", fail)
    assert traintime.train(**LONGER).forecast.evidence == "measured on this machine"


def test_a_job_that_was_run_is_forecast_as_it_went():
    target = LONGER | {"target": "accuracy:0.8"}
    first = traintime.train(**target)
    again = traintime.forecast(**target)
    assert isinstance(again, Forecast)
    assert again.curve
    assert first.run in again.curve.source
    assert again.chance_of_target == pytest.approx(1.0, abs=0.02)
    other_seed = traintime.forecast(**target, seed=7)
    assert isinstance(other_seed, Forecast)
    assert other_seed.curve
    assert other_seed.curve.source.startswith("1 earlier run of this recipe")
    other_recipe = traintime.forecast(**target, lr=0.5)
    assert isinstance(other_recipe, Forecast)
    assert "earlier" not in (other_recipe.curve.source if other_recipe.curve else "")


def test_a_damaged_folder_of_an_earlier_run_says_nothing():
    target = LONGER | {"target": "accuracy:0.8"}
    first = traintime.train(**target)
    (first.folder / "recipe.yaml").write_text("{")
    again = traintime.forecast(**target)
    assert isinstance(again, Forecast)
    assert "earlier" not in (again.curve.source if again.curve else "")


def test_a_budget_that_is_over_by_then_keeps_its_forecast(monkeypatch: pytest.MonkeyPatch):
    module = sys.modules["traintime.api.trial"]
    late = module.try_steps

    def slow(*given: object):
        found = late(*given)
        return found and replace(found, elapsed_s=10**6)

    monkeypatch.setattr(module, "try_steps", slow)
    result = traintime.train(**QUICK | {"epochs": 50, "budget": "5s"})
    assert result.forecast.evidence == "measured on this machine"


def test_a_forecast_can_take_steps_without_having_the_data(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise AssertionError("nothing is read")

    monkeypatch.setattr("traintime.data.fetch.load_raw", fail)
    told = Told()
    answer = traintime.forecast(**LONGER, pilot=6, listener=told)
    assert isinstance(answer, Forecast)
    assert answer.evidence == "run on this machine"
    assert answer.assumptions[0].startswith("4 steps were tried here")
    assert answer.assumptions[1].startswith("fetching the data set")
    assert answer.step_time_s.sigma == pytest.approx(TRIAL_SIGMA)
    assert "Taking 6 steps of mlp" in told.lines[-1]
    by_rates = traintime.forecast(**LONGER)
    assert isinstance(by_rates, Forecast)
    prepare, by_rates_prepare = answer.stages_s["prepare"], by_rates.stages_s["prepare"]
    assert prepare.median == pytest.approx(by_rates_prepare.median)


@pytest.mark.parametrize("pilot", [3, "many", 10**6])
def test_steps_that_are_too_few_or_no_number_are_refused(pilot: object):
    with pytest.raises(InputError, match="pilot"):
        traintime.forecast(**LONGER, pilot=pilot)


def test_steps_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(trial, "time_steps", fail)
    with pytest.raises(InputError, match=r"does not fit into memory.*leave pilot= out"):
        traintime.forecast(**LONGER, pilot=6)


def test_steps_tell_nothing_of_images_that_are_read_meanwhile(monkeypatch: pytest.MonkeyPatch):
    from_disk = replace(InputPlan(), cache="disk")
    monkeypatch.setattr(
        "traintime.api.input_plan.with_input", lambda job, _: replace(job, input=from_disk)
    )
    with pytest.raises(InputError, match=r"these images would be read while"):
        traintime.forecast(**LONGER, pilot=6)


def test_a_table_can_be_asked_for_steps(tmp_path: Path):
    path = loans(tmp_path / "loans.csv", 600)
    fields = {"model": "mlp", "hidden": (8,), "batch_size": 8, "epochs": 4, "device": "cpu"}
    answer = traintime.forecast(data=str(path), label="Status", pilot=6, **fields)
    assert answer.evidence == "run on this machine"


def test_a_table_is_tried_too(tmp_path: Path):
    path = loans(tmp_path / "loans.csv", 600)
    fields = {"model": "mlp", "hidden": (8,), "batch_size": 8, "epochs": 4, "device": "cpu"}
    result = traintime.train(data=str(path), label="Status", **fields)
    assert result.forecast.evidence == "run on this machine"


def test_other_rows_under_the_same_name_are_another_job(tmp_path: Path):
    table = tmp_path / "points.csv"
    fields = {"data": str(table), "label": "side", "model": "mlp", "epochs": 3, "device": "cpu"}

    def write(shift: int) -> None:
        rows = (f"{n % 17 + shift},{n % 5},{'left' if n % 17 < 8 else 'right'}" for n in range(300))
        table.write_text("\n".join(["x,y,side", *rows]))

    write(0)
    first = traintime.train(**fields)
    again = traintime.forecast(**fields)
    assert isinstance(again, Forecast)
    assert again.curve
    assert first.run in again.curve.source
    write(1)
    other = traintime.forecast(**fields)
    assert isinstance(other, Forecast)
    assert other.curve is None
