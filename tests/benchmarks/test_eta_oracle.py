import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT / "calibration"))
    return importlib.import_module("eta_oracle")


def run(trial: str, values: list[float]) -> Any:
    curves = importlib.import_module("recorded_curves")
    at = tuple(float(n) for n in range(1, len(values) + 1))
    return curves.RecordedRun(
        "algoperf", "task", trial, at, tuple(values), False, 0.0, planned=at[-1]
    )


def falling(to: float) -> list[float]:
    return [*(10.0 - n * (10.0 - to) / 20 for n in range(20)), to]


def test_a_target_that_is_the_best_of_a_run_is_a_coin_toss(oracle):
    assert oracle._called([0.0], 0.1, 0.5) == pytest.approx(0.5)


def test_who_knows_the_end_well_calls_what_is_far_and_nothing_that_was_reached(oracle):
    row = oracle._row([0.3, 0.5, -0.4, -0.6], 0.02)
    assert row["called"] == pytest.approx(1.0)
    assert row["false_alarms"] == pytest.approx(0.0)
    assert row["called_at_one_in_twenty"] == pytest.approx(1.0)


def test_who_knows_little_of_the_end_cannot_have_both(oracle):
    assert oracle._row([0.1, -0.1], 0.5)["called_at_one_in_twenty"] < 0.2


def test_the_end_has_to_be_known_as_well_as_targets_are_apart(oracle):
    assert oracle._needed([0.2, -0.2]) == pytest.approx(2 * oracle._needed([0.1, -0.1]), rel=0.1)


def test_trials_that_differ_in_their_seed_alone_tell_the_spread(oracle):
    same = [run("study_0/trial1", falling(1.0)), run("study_1/trial1", falling(1.0))]
    apart = [run("study_0/trial2", falling(1.0)), run("study_1/trial2", falling(1.1))]
    assert oracle.seed_spread([*same, run("study_0/trial3", falling(5.0))]) == pytest.approx(0.0)
    assert oracle.seed_spread(apart) > 0.02
