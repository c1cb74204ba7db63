from pathlib import Path

import pytest

from traintime.errors import RunFolderError
from traintime.ledger.run_folder import SPARED, RunFolder

RECIPE = {"data": "mnist", "lr": 0.001, "hidden": [16, 16]}
FORECAST = {"total_s": {"median": 12.5}}
ENVIRONMENT = {"machine": {"cores": 2}}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "mnist-lenet", "0.1.0")
    folder.write_recipe(RECIPE)
    folder.write_json("environment", ENVIRONMENT)
    folder.write_json("forecast", FORECAST)
    return folder


def mended(folder: RunFolder) -> list[str]:
    said: list[str] = []
    RunFolder.open(folder.path).mend(said.append)
    return said


def all_is_as_written(folder: RunFolder) -> bool:
    return (
        folder.read_recipe() == RECIPE
        and folder.read_json("forecast") == FORECAST
        and folder.read_json("environment") == ENVIRONMENT
    )


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def change_a_digit(path: Path) -> None:
    """A change that every parser accepts."""
    content = path.read_bytes()
    place = next(index for index, byte in enumerate(content) if chr(byte) in "12")
    path.write_bytes(content[:place] + b"9" + content[place + 1 :])


def fill_with_zeros(path: Path) -> None:
    """As some file systems leave a file after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("name", SPARED[1:])
@pytest.mark.parametrize("damage", [empty, cut, change_a_digit, fill_with_zeros])
def test_a_damaged_file_is_restored_and_what_was_found_is_kept(damage, name, folder: RunFolder):
    path = folder.path / name
    damage(path)
    found = path.read_bytes()
    assert mended(folder) == [
        f"{name} was not as it had been written (now '{name}.damaged'); "
        "it was restored from spare.json"
    ]
    assert all_is_as_written(folder)
    assert (folder.path / f"{name}.damaged").read_bytes() == found
    assert mended(folder) == []


@pytest.mark.parametrize("name", SPARED[1:])
def test_a_missing_file_is_restored(name: str, folder: RunFolder):
    (folder.path / name).unlink()
    assert mended(folder) == [f"{name} was missing; it was restored from spare.json"]
    assert all_is_as_written(folder)


@pytest.mark.parametrize("damage", [Path.unlink, empty, cut, fill_with_zeros])
def test_a_run_whose_format_is_lost_opens_all_the_same(damage, folder: RunFolder):
    damage(folder.path / "format.json")
    assert mended(folder) == []
    assert all_is_as_written(folder)


@pytest.mark.parametrize("damage", [Path.unlink, empty, cut, change_a_digit, fill_with_zeros])
def test_a_damaged_spare_harms_nothing(damage, folder: RunFolder):
    damage(folder.path / "spare.json")
    assert mended(folder) == []
    assert all_is_as_written(folder)
    folder.write_json("environment", ENVIRONMENT)
    folder.write_recipe(RECIPE)
    (folder.path / "recipe.yaml").unlink()
    assert len(mended(folder)) == 1
    assert all_is_as_written(folder)


def test_a_crash_between_spare_and_file_leaves_the_newer_content(folder: RunFolder):
    older = (folder.path / "environment.json").read_bytes()
    folder.write_json("environment", {"newer": True})
    (folder.path / "environment.json").write_bytes(older)
    mended(folder)
    assert folder.read_json("environment") == {"newer": True}


def test_a_lost_environment_is_no_reason_not_to_go_on(folder: RunFolder):
    (folder.path / "spare.json").unlink()
    (folder.path / "environment.json").unlink()
    (said,) = mended(folder)
    assert said.startswith("What the run began on is lost: '")
    assert folder.read_json("environment") == {}


@pytest.mark.parametrize("damage", [Path.unlink, empty, fill_with_zeros])
def test_a_lost_recipe_is_told_with_the_way_out(damage, folder: RunFolder):
    (folder.path / "spare.json").unlink()
    damage(folder.path / "recipe.yaml")
    assert mended(folder) == []
    with pytest.raises(RunFolderError, match="start a new run"):
        folder.read_recipe()


def test_what_a_kill_left_half_written_is_cleared_away(folder: RunFolder):
    before = set(folder.path.iterdir())
    (folder.path / ".forecast.json.999999999.tmp").write_bytes(b"half")
    mended(folder)
    assert set(folder.path.iterdir()) == before
