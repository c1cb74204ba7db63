from dataclasses import replace
from pathlib import Path

import pytest

from traintime.ledger.database import Ledger

from .rows import ROW

HERE = ROW.machine
DONE = replace(ROW, status="finished", forecast_s=10.0, forecast_low_s=8.0, forecast_high_s=12.5)


def fill(ledger: Ledger, *took: float, **changes: object) -> None:
    for number, total_s in enumerate(took):
        name = f"{changes}-{number}"
        ledger.put(replace(DONE, name=name, total_s=total_s, **changes))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_forecasts_are_held_against_what_runs_took(ledger: Ledger):
    # |forecast / fact - 1| is 0.25, 0, 1, and 0.2
    fill(ledger, 8.0, 10.0, 5.0, 12.5)
    found = ledger.summary(HERE).forecasts
    assert (found.runs, found.within) == (4, 3)
    assert found.median_error == pytest.approx((0.2 + 0.25) / 2)
    assert found.p90_error == pytest.approx(1.0)  # 0.25 would hold for three in four


def test_nine_in_ten_runs_keep_within_what_is_said(ledger: Ledger):
    fill(ledger, *(10.0 / (1 + error / 100) for error in range(1, 11)))
    assert ledger.summary(HERE).forecasts.p90_error == pytest.approx(0.09)


def test_one_run_is_its_own_median(ledger: Ledger):
    fill(ledger, 8.0)
    found = ledger.summary(HERE).forecasts
    assert (found.median_error, found.p90_error) == (pytest.approx(0.25), pytest.approx(0.25))


def test_only_runs_that_did_what_was_forecast_count(ledger: Ledger):
    for status in ("stopped early", "failed", "stopped", "diverged", "running"):
        fill(ledger, 10.0, status=status)
    fill(ledger, 0.0)
    assert ledger.summary(HERE).forecasts.runs == 0
    fill(ledger, 10.0, status="target reached")
    assert ledger.summary(HERE).forecasts.runs == 1


def test_a_run_that_was_changed_on_its_way_does_not_count(ledger: Ledger):
    fill(ledger, 43.0, is_changed=True)
    fill(ledger, 10.0)
    found = ledger.summary(HERE)
    assert (found.forecasts.runs, found.forecasts.p90_error) == (1, 0.0)
    assert found.by_status == {"finished": 2}
    assert found.by_model["lenet"].runs == 1


def test_a_run_counts_from_when_it_is_finished(ledger: Ledger):
    ledger.put(replace(DONE, status="running"))
    assert ledger.summary(HERE).forecasts.runs == 0
    ledger.put(replace(DONE, total_s=10.0))
    assert ledger.summary(HERE).forecasts.runs == 1
    ledger.put(replace(DONE, status="running"))  # resumed
    assert ledger.summary(HERE).forecasts.runs == 0


def test_models_are_of_this_machine_and_those_with_most_runs_come_first(ledger: Ledger):
    fill(ledger, 10.0, model="lenet")
    fill(ledger, 10.0, 5.0, model="resnet18")
    fill(ledger, 10.0, 10.0, 10.0, model="vit", machine="Cray-1 x1")
    summary = ledger.summary(HERE)
    assert list(summary.by_model) == ["resnet18", "lenet"]
    assert summary.by_model["resnet18"].median_error == pytest.approx(0.5)
    assert summary.forecasts.runs == 6


def test_no_more_than_twenty_models_are_told_apart(ledger: Ledger):
    for number in range(22):
        fill(ledger, 10.0, model=f"model {number}")
    assert len(ledger.summary(HERE).by_model) == 20


def test_runs_are_counted_by_status_and_dated(ledger: Ledger, tmp_path: Path):
    fill(ledger, 10.0, 10.0, began="2025-11-20T08:00:00")
    fill(ledger, 10.0, status="failed", began="2025-11-21T08:00:00")
    fill(ledger, 10.0, status="moved here", began="")
    summary = ledger.summary(HERE)
    assert summary.runs == 4
    assert summary.by_status == {"finished": 2, "failed": 1, "moved here": 1}
    assert summary.first_began == "2025-11-20T08:00:00"
    assert summary.last_began == "2025-11-21T08:00:00"
    assert summary.path == tmp_path / "ledger.sqlite"
    assert summary.size_bytes >= (tmp_path / "ledger.sqlite").stat().st_size
