import os
import sys

import pytest

from traintime.hardware.threads import SPIN_VARIABLE, SPINS, share_processor


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch were not loaded and nothing were set; what is set is undone."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(SPIN_VARIABLE, "")
    monkeypatch.delenv(SPIN_VARIABLE)


def test_threads_are_told_to_spin_shortly():
    share_processor()
    assert os.environ[SPIN_VARIABLE] == SPINS


def test_the_users_own_spins_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SPIN_VARIABLE, "7")
    share_processor()
    assert os.environ[SPIN_VARIABLE] == "7"


def test_the_users_own_way_of_waiting_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    share_processor()
    assert SPIN_VARIABLE not in os.environ


def test_nothing_is_set_once_torch_is_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    share_processor()
    assert SPIN_VARIABLE not in os.environ
