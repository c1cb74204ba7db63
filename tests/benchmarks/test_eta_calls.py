import importlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("eta_calls")


def test_who_calls_at_a_lower_chance_has_fewer_false_alarms_and_finds_fewer(calls):
    told = [calls.Told(c / 10, reached=c % 2 == 1) for c in range(10)]
    trade_off = calls.calls(told)["trade_off"]
    for less, more in pairwise(trade_off):
        assert less["called"] <= more["called"]
        assert less["false_alarms"] <= more["false_alarms"]
    assert trade_off[-1] == {"below": 0.5, "called": 0.6, "false_alarms": 0.4}


def test_a_chance_that_holds_is_met_by_as_many(calls):
    told = [calls.Told(0.75, reached=n < 3) for n in range(4)]
    (row,) = calls.calls(told)["reliability"]
    assert (row["told"], row["reached"], row["targets"]) == (0.75, 0.75, 4)


def test_what_is_certain_has_a_place(calls):
    (row,) = calls.calls([calls.Told(1.0, reached=True)])["reliability"]
    assert (row["low"], row["high"]) == (0.9, 1.0)


def test_of_no_targets_nothing_is_called(calls):
    assert calls.called([]) is None
