from pathlib import Path

import pytest

from tests.api.known_machine import remember_machine


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, on a machine that is known."""
    monkeypatch.setenv("TRAINTIME_HOME", str(tmp_path / "home"))
    remember_machine()
    return tmp_path / "home"
