import dataclasses
import json
import sqlite3
from pathlib import Path
from time import perf_counter

import pytest

import traintime
from traintime import Forecast
from traintime.api.runs import find_run
from traintime.hardware.profile import load_profile, save_profile
from traintime.ledger.commands import Commands
from traintime.ledger.database import Ledger, LedgerRow
from traintime.ledger.paths import ledger_path

from .known_machine import QUICK, remember_machine


@pytest.fixture
def row() -> LedgerRow:
    """Of a run that took 1.3 times as long a step as was forecast."""
    traintime.train(**QUICK)
    (row,) = traintime.list_runs()
    return enter(row, 1.3)


def enter(row: LedgerRow, ratio: float, **changed: object) -> LedgerRow:
    assert row.uncorrected_step_s
    step_s = row.uncorrected_step_s * ratio
    row = dataclasses.replace(row, **{"step_s": step_s, **changed})
    Ledger(ledger_path()).put(row)
    return row


def lines(forecast: Forecast) -> list[str]:
    return [line for line in forecast.assumptions if line.startswith("corrected by")]


def test_a_finished_run_corrects_the_next_forecast(row: LedgerRow) -> None:
    after = traintime.forecast(**QUICK)
    assert isinstance(after, Forecast)
    assert after.correction
    assert (after.correction.num_runs, after.correction.of) == (1, "1 of this job")
    assert lines(after) == [
        f"corrected by × {after.correction.factor:.2f} for 1 finished run here (1 of this job)"
    ]
    assert 1.1 < after.correction.factor < 1.3
    assert after.evidence == "measured on this machine"
    assert after.uncorrected_step_s == pytest.approx(row.forecast_step_s)
    assert after.step_time_s.median == pytest.approx(row.forecast_step_s * after.correction.factor)
    assert after.step_time_s.sigma == pytest.approx(after.correction.sigma)


def test_without_finished_runs_no_line_is_added() -> None:
    assert lines(traintime.forecast(**QUICK)) == []


def test_a_row_keeps_what_its_forecast_stood_on(row: LedgerRow) -> None:
    assert (row.device, row.batch_size, row.num_processes) == ("cpu", 64, 1)
    assert row.execution == "cpu, fp32, contiguous"
    assert row.parameters == 64 * 16 + 16 + 16 * 10 + 10
    assert row.software is not None
    assert row.software.startswith(f"traintime {traintime.__version__}, torch ")


def test_repeated_runs_settle_at_the_truth_and_do_not_feed_back(row: LedgerRow) -> None:
    for number in range(10):
        forecast = traintime.forecast(**QUICK)
        enter(
            row,
            1.3,
            name=f"run {number}",
            forecast_step_s=forecast.step_time_s.median,
            uncorrected_step_s=forecast.uncorrected_step_s,
        )
    after = traintime.forecast(**QUICK)
    assert after.uncorrected_step_s == pytest.approx(row.uncorrected_step_s)
    assert after.step_time_s.median == pytest.approx(row.step_s, rel=0.03)


def test_a_run_of_a_corrected_forecast_enters_the_uncorrected_one(row: LedgerRow) -> None:
    traintime.train(**QUICK)
    newest = traintime.list_runs()[0]
    assert newest.uncorrected_step_s == pytest.approx(row.uncorrected_step_s)
    assert newest.forecast_step_s > 1.1 * row.forecast_step_s


@pytest.mark.parametrize(
    "changed",
    [
        {"num_processes": 2},
        {"is_changed": True},
        {"total_s": None, "step_s": None, "status": "stopped"},
        {"machine": "Cray-1 x1"},
        {"device": "cuda:0"},
        {"software": "traintime 0.0.1"},
        {"uncorrected_step_s": None},
    ],
    ids=str,
)
def test_what_does_not_count_changes_nothing(row: LedgerRow, changed: dict[str, object]) -> None:
    enter(row, 1.3, **changed)
    forecast = traintime.forecast(**QUICK)
    assert lines(forecast) == []
    assert forecast.step_time_s.median == pytest.approx(row.forecast_step_s)


def test_another_measurement_of_the_machine_begins_anew(row: LedgerRow, home: Path) -> None:
    (path,) = (home / "cache" / "machines").iterdir()
    profile = load_profile(path)
    assert profile
    save_profile(dataclasses.replace(profile, dispatch_s=1.01 * profile.dispatch_s), path)
    assert lines(traintime.forecast(**QUICK)) == []
    remember_machine()
    assert lines(traintime.forecast(**QUICK)) != []


def test_a_ledger_that_cannot_be_used_stops_no_forecast(row: LedgerRow) -> None:
    for content in (b"", b"no database at all" * 999, ledger_path().read_bytes()[:5000]):
        ledger_path().write_bytes(content)
        assert lines(traintime.forecast(**QUICK)) == []
    ledger_path().unlink()
    ledger_path().mkdir()
    assert lines(traintime.forecast(**QUICK)) == []


def test_a_locked_ledger_is_not_waited_for(row: LedgerRow) -> None:
    with sqlite3.connect(ledger_path()) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("DELETE FROM runs")
        began = perf_counter()
        forecast = traintime.forecast(**QUICK)
        assert perf_counter() - began < 5
        assert lines(forecast) == []
    connection.close()


def test_a_forecast_makes_no_ledger(home: Path) -> None:
    traintime.forecast(**QUICK)
    assert not ledger_path().exists()


def test_a_corrected_forecast_survives_json(row: LedgerRow) -> None:
    forecast = traintime.forecast(**QUICK)
    assert Forecast.from_json(json.loads(json.dumps(forecast.to_json()))) == forecast


def test_a_forecast_of_an_earlier_version_has_no_correction() -> None:
    values = traintime.forecast(**QUICK).to_json()
    del values["correction"]
    forecast = Forecast.from_json(values)
    assert forecast.correction is None
    assert forecast.uncorrected_step_s == forecast.step_time_s.median


@pytest.mark.parametrize("verb", ["set", "pause"])
def test_a_run_that_was_steered_is_entered_as_such_and_corrects_nothing(verb: str) -> None:
    class Steer(traintime.Callback):
        def on_start(self, start: object) -> None:
            to = Commands(find_run("latest").path)
            to.send(verb, {"lr": 0.001} if verb == "set" else {})
            to.send("continue")

    traintime.train(**{**QUICK, "epochs": 3}, callbacks=[Steer()])
    (row,) = traintime.list_runs()
    assert (row.status, row.is_changed) == ("finished", True)
    assert Ledger(ledger_path()).summary(row.machine).forecasts.runs == 0
    assert lines(traintime.forecast(**QUICK)) == []


def test_a_run_that_was_saved_on_its_way_is_none_that_was_changed() -> None:
    class Save(traintime.Callback):
        def on_start(self, start: object) -> None:
            Commands(find_run("latest").path).send("save")

    traintime.train(**{**QUICK, "epochs": 3}, callbacks=[Save()])
    assert traintime.list_runs()[0].is_changed is False
