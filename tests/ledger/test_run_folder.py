import json
from pathlib import Path

import pytest

from traintime.errors import RunFolderError, StorageError
from traintime.ledger import run_folder
from traintime.ledger.record_file import RecordFile
from traintime.ledger.run_folder import FORMAT, RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "mnist-lenet", "0.1.0")


def test_a_new_folder_says_what_wrote_it_and_can_be_opened(folder: RunFolder):
    assert folder.read_json("format") == {"format": FORMAT, "traintime": "0.1.0"}
    assert folder.checkpoints.is_dir()
    assert RunFolder.open(folder.path).name == folder.name
    assert folder.name.endswith("-mnist-lenet")


def test_folders_of_the_same_second_get_names_of_their_own(tmp_path: Path):
    names = {RunFolder.create(tmp_path, "mnist-lenet", "0.1.0").name for _ in range(5)}
    assert len(names) == 5
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_run_is_finished_once_it_has_a_result(folder: RunFolder):
    assert not folder.is_finished
    folder.write_json("result", {"status": "finished"})
    assert folder.is_finished


@pytest.mark.parametrize("exists", [True, False])
def test_any_other_folder_is_no_run(tmp_path: Path, exists: bool):
    path = tmp_path if exists else tmp_path / "missing"
    with pytest.raises(RunFolderError, match="is no run folder; `traintime runs list`"):
        RunFolder.open(path)


def test_a_folder_of_another_version_names_the_version_that_reads_it(folder: RunFolder):
    folder.write_json("format", {"format": 2, "traintime": "0.9.0"})
    with pytest.raises(RunFolderError) as caught:
        RunFolder.open(folder.path)
    assert str(caught.value) == (
        f"'{folder.path}' has format 2, written by traintime 0.9.0; this version reads format 1. "
        "Install that version: pip install 'traintime==0.9.0'"
    )


@pytest.mark.parametrize("content", ["", "{", "7", '"text"', "[1, 2]", "\x00\x00"])
def test_a_damaged_file_is_named_with_what_to_type(folder: RunFolder, content: str):
    (folder.path / "forecast.json").write_text(content)
    with pytest.raises(RunFolderError) as caught:
        folder.read_json("forecast")
    assert "forecast.json' is damaged" in str(caught.value)
    assert f"traintime train '{folder.path / 'recipe.yaml'}'" in str(caught.value)


def test_a_missing_file_says_how_far_the_run_came(folder: RunFolder):
    with pytest.raises(RunFolderError, match=r"is missing.*traintime runs show"):
        folder.read_json("result")


def test_json_and_recipe_come_back_as_they_were_written(folder: RunFolder):
    values = {"name": "Zürich", "lr": 1e-05, "hidden": [128, 64], "target": None}
    folder.write_json("forecast", values)
    folder.write_recipe(values)
    assert folder.read_json("forecast") == values
    assert folder.read_recipe() == values
    assert list(folder.read_recipe()) == list(values), "in the order they were written"


@pytest.mark.parametrize("content", [b"", b"- a", b"data: [", b"data: 2020-13-45", b"\xff\xfe\xfa"])
def test_a_damaged_recipe_sends_to_a_new_run(folder: RunFolder, content: bytes):
    (folder.path / "recipe.yaml").write_bytes(content)
    with pytest.raises(RunFolderError, match="start a new run"):
        folder.read_recipe()


def test_a_missing_recipe_sends_to_a_new_run(folder: RunFolder):
    with pytest.raises(RunFolderError, match="start a new run"):
        folder.read_recipe()


def test_a_file_in_place_of_the_runs_folder_is_a_storage_error(tmp_path: Path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        RunFolder.create(tmp_path / "runs", "mnist-lenet", "0.1.0")


def test_a_deleted_folder_is_gone(folder: RunFolder):
    folder.delete()
    assert not folder.path.exists()


def test_the_layout_that_is_documented_names_the_files_that_are_written(folder: RunFolder):
    folder.write_json("result", {})
    folder.write_recipe({})
    RecordFile(folder.path / "steps.jsonl").close()
    lines = run_folder.__doc__.splitlines()[2:]
    documented = {line.split()[0].rstrip("/") for line in lines if line}
    assert {path.name for path in folder.path.iterdir()} <= documented
    assert json.loads((folder.path / "format.json").read_text())["format"] == FORMAT
