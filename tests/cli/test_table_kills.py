"""Runs on a table that are killed without a word, and whose table is damaged before they go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.api.known_machine import as_words, remember_machine
from tests.cli.processes import Started, assert_same_end, only_run, run
from tests.cli.test_kills import be_slow, saved
from tests.data.tables import edit, loans
from traintime.ledger.run_folder import RunFolder

JOB: dict[str, Any] = {
    "label": "Status",
    "model": "mlp",
    "hidden": (8,),
    "batch_size": 8,
    "epochs": 12,
    "device": "cpu",
    "precision": "fp32",
    "checkpoint_every_s": 0,
}


def overwrite(path: Path, home: Path) -> None:
    edit(path, {(line, "Income"): "1" for line in range(2, 40)})


def cut(path: Path, home: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def delete(path: Path, home: Path) -> None:
    path.unlink()


def lose_the_copy(path: Path, home: Path) -> None:
    shutil.rmtree(home / "cache" / "data" / "own")


def lose_both(path: Path, home: Path) -> None:
    lose_the_copy(path, home)
    cut(path, home)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(home))
        remember_machine()
    path = loans(home / "loans.csv")
    run(home, "train", *as_words(data=path, **JOB))
    return only_run(home)


def killed(home: Path, path: Path) -> RunFolder:
    """Return a run that was killed while it trained, after its first checkpoint."""
    process = Started(home, ["train", *as_words(data=path, **JOB)], [be_slow])
    process.wait_for(lambda: (home / "runs").exists() and list((home / "runs").iterdir()))
    folder = only_run(home)
    process.wait_for(lambda: saved(folder))
    sleep(0.02)
    assert process.kill(), "it was done before it could be killed"
    return folder


@pytest.mark.parametrize("damage", [overwrite, cut, delete, lose_the_copy])
def test_a_killed_run_goes_on_with_the_rows_that_it_began_with(
    whole: RunFolder, home: Path, tmp_path: Path, damage: Callable[[Path, Path], None]
):
    remember_machine()
    path = loans(tmp_path / "loans.csv")
    folder = killed(home, path)
    damage(path, home)
    run(home, "runs", "resume", "latest")
    assert_same_end(folder, whole)


def test_where_nothing_whole_is_left_it_is_said_what_changed(home: Path, tmp_path: Path):
    remember_machine()
    path = loans(tmp_path / "loans.csv")
    killed(home, path)
    lose_both(path, home)
    process = Started(home, ["runs", "resume", "latest"])
    assert process.ended() == 2
    assert "its content is another. Bring the old ones back" in " ".join(process.errors.split())
