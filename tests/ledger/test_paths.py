from pathlib import Path

import pytest

from traintime.ledger.paths import cache_folder, ledger_path, runs_folder


def test_one_variable_moves_everything(home: Path):
    assert cache_folder() == home / "cache"
    assert ledger_path() == home / "ledger.sqlite"
    assert runs_folder() == home / "runs"


def test_the_variable_may_name_the_users_home(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("TRAINTIME_HOME", "~/traintime")
    assert runs_folder() == Path("/somewhere/traintime/runs")


@pytest.mark.parametrize("value", [None, ""])
def test_without_it_runs_stay_here_and_the_rest_where_the_system_wants_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
):
    if value is None:
        monkeypatch.delenv("TRAINTIME_HOME")
    else:
        monkeypatch.setenv("TRAINTIME_HOME", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    assert runs_folder() == Path("runs")
    assert cache_folder().name == "traintime"
    assert ledger_path().name == "ledger.sqlite"
    assert cache_folder() != ledger_path().parent
