"""Where traintime keeps what outlives a command."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "TRAINTIME_HOME"


def _home() -> Path | None:
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).expanduser() if home else None


def cache_folder() -> Path:
    """Return the folder of what can be made again: data sets and machine profiles."""
    home = _home()
    return home / "cache" if home else Path(platformdirs.user_cache_dir("traintime"))


def ledger_path() -> Path:
    """Return the path of the ledger."""
    home = _home()
    folder = home if home else Path(platformdirs.user_data_dir("traintime"))
    return folder / "ledger.sqlite"


def runs_folder() -> Path:
    """Return the folder that new run folders are made in."""
    home = _home()
    return home / "runs" if home else Path("runs")
