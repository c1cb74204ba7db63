"""Training on a table of one's own, from the file to the report."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import traintime
from tests.api.test_own_images import Heard, assert_same_weights, stop
from tests.data.tables import cells_of, edit, loans, write
from traintime.api.profile import profile_run
from traintime.api.runs import find_run, show_run
from traintime.data import own_table
from traintime.data.kept_copies import place_of
from traintime.errors import InputError, RunFolderError, StorageError
from traintime.ledger.run_folder import RunFolder

from .known_machine import records

JOB: dict[str, Any] = {
    "label": "Status",
    "model": "mlp",
    "hidden": (8,),
    "batch_size": 8,
    "epochs": 2,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return loans(tmp_path / "my loans.csv")


def forget_copies(home: Path) -> None:
    shutil.rmtree(home / "cache" / "data" / "own")


def flip_a_byte_of_each_copy(home: Path) -> None:
    for copy in (home / "cache" / "data" / "own").glob("*/table.npz"):
        content = bytearray(copy.read_bytes())
        content[len(content) // 2] ^= 1
        copy.write_bytes(content)


def said_of(heard: Heard, words: str) -> list[str]:
    return [line for line in heard.lines if words in line]


def test_a_table_is_learned(path: Path):
    loans(path, count=600)
    result = traintime.train(data=str(path), **{**JOB, "epochs": 20})
    assert result.test.accuracy > 0.95
    assert [score.name for score in result.test.per_class] == ["bad", "good"]
    assert "my-loans.csv-mlp" in result.run
    assert "MLP on my loans.csv" in result.report.read_text()
    recipe = yaml.safe_load((result.folder / "recipe.yaml").read_text())
    assert (recipe["data"], recipe["label"]) == (str(path), "Status")
    assert_same_weights(traintime.train(result.folder / "recipe.yaml").folder, result.folder)


@pytest.mark.parametrize("ending", [".tsv", ".parquet"])
def test_a_table_of_any_form_trains_the_same_weights(path: Path, ending: str):
    whole = traintime.train(data=str(path), **JOB)
    other = path.with_suffix(ending)
    if ending == ".tsv":
        other.write_text(path.read_text().replace(",", "\t"))
    else:
        polars = pytest.importorskip("polars")
        polars.read_csv(path).write_parquet(other)
    assert_same_weights(traintime.train(data=str(other), **JOB).folder, whole.folder)


def test_what_was_damaged_is_told_once_and_stands_in_the_report(path: Path):
    edit(path, {(5, "Status"): "", (9, "Income"): "<b>", (11, "Income"): "NaN"})
    heard = Heard()
    result = traintime.train(data=str(path), **JOB, listener=heard)
    assert said_of(heard, "cannot be used and is left out") == [
        "1 of 60 rows cannot be used and is left out: line 5 (has no Status)"
    ]
    assert len(said_of(heard, "Income (1 missing and 1 no number, such as '<b>'")) == 1
    assert len(said_of(heard, "left out: id (has another value in nearly every row), When")) == 1
    events = records(result.folder, "events")
    assert [event["kind"] for event in events] == ["damaged data", "damaged data"]
    report = result.report.read_text()
    assert "1 of 60 rows could not be used and was left out" in report
    assert "2 columns were left out" in report
    assert "such as &#39;&lt;b&gt;&#39;" in report
    noted = json.loads((result.folder / "data.json").read_text())
    assert noted["skipped"] == {"line 5": "has no Status"}


def test_repeated_rows_are_left_out_and_that_is_said(path: Path):
    header, *rows = cells_of(path)
    write(path, header, [*rows, rows[0], rows[1]])
    heard = Heard()
    result = traintime.train(data=str(path), **JOB, listener=heard)
    assert said_of(heard, "2 of 62 rows repeat another one and are left out")
    assert "2 of 62 rows repeat another one" in result.report.read_text()


def test_too_much_damage_is_refused_before_a_run_begins(path: Path, home: Path):
    edit(path, {(line, "Status"): "" for line in range(5, 15)})
    with pytest.raises(InputError, match=r"type max_damaged=0\.167$"):
        traintime.train(data=str(path), **JOB)
    assert not (home / "runs").exists()


def test_rows_that_were_taken_for_another_class_are_shown_with_their_cells(path: Path):
    header, *rows = cells_of(path)
    place = header.index("Income")
    write(path, header, [[*row[:place], "1", *row[place + 1 :]] for row in rows])
    result = traintime.train(data=str(path), **JOB)
    wrong = json.loads((result.folder / "result.json").read_text())["wrong"]
    assert wrong
    assert list(wrong[0]["cells"]) == ["Age", "Home"]
    line = int(wrong[0]["row"].removeprefix("line "))
    assert cells_of(path)[line - 1][1] == wrong[0]["cells"]["Age"]
    assert wrong[0]["row"] in result.report.read_text()


@pytest.mark.parametrize(
    "damage",
    ["no", "changed", "cut", "gone", "without a copy", "with a damaged copy"],
)
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, damage: str
):
    whole = traintime.train(data=str(path), **JOB)
    stopped = stop(monkeypatch, data=str(path), **JOB)
    if damage == "changed":
        edit(path, {(7, "Income"): "1", (8, "Status"): "bad"})
    elif damage == "cut":
        os.truncate(path, 100)
    elif damage == "gone":
        path.unlink()
    elif damage == "without a copy":
        forget_copies(home)
    elif damage == "with a damaged copy":
        flip_a_byte_of_each_copy(home)
    heard = Heard()
    assert_same_weights(traintime.resume(stopped, listener=heard).folder, whole.folder)
    is_changed = damage in ("changed", "cut", "gone")
    assert len(said_of(heard, "goes on with the copy of the rows")) == is_changed
    assert len(said_of(heard, "reading it again")) == damage.startswith("with")
    assert not said_of(heard, "left out"), "said when it began"


@pytest.mark.parametrize("forget", [forget_copies, flip_a_byte_of_each_copy])
def test_a_table_that_has_changed_is_refused_unless_a_copy_is_kept(
    path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, forget: Any
):
    stopped = [stop(monkeypatch, data=str(path), **JOB) for _ in range(2)]
    forget(home)
    edit(path, {(7, "Income"): "1"})
    with pytest.raises(RunFolderError) as raised:
        traintime.resume(stopped[0])
    assert "are not those that" in str(raised.value)
    assert "its content is another. Bring the old ones back" in str(raised.value)
    assert f"traintime train '{find_run(stopped[0]).path / 'recipe.yaml'}'" in str(raised.value)
    path.unlink()
    with pytest.raises(RunFolderError, match="it is not there any more"):
        traintime.resume(stopped[1])


def test_a_table_that_is_prepared_otherwise_than_it_was_is_refused(
    path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    stopped = stop(monkeypatch, data=str(path), **JOB)
    forget_copies(home)
    monkeypatch.setattr(own_table, "with_every_class", lambda parts, labels: parts)
    monkeypatch.setattr("traintime.data.table_encoding.FARTHEST", 0.5)
    with pytest.raises(RunFolderError, match="divided or encoded otherwise"):
        traintime.resume(stopped)


def test_a_damaged_note_of_the_table_says_how_to_train_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    stopped = stop(monkeypatch, data=str(path), **JOB)
    (find_run(stopped).path / "data-table.gz").write_bytes(b"torn")
    with pytest.raises(RunFolderError, match=r"what table .* damaged .*traintime train '"):
        traintime.resume(stopped)


def test_without_its_note_for_people_a_run_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = traintime.train(data=str(path), **JOB)
    stopped = stop(monkeypatch, data=str(path), **JOB)
    (find_run(stopped).path / "data.json").unlink()
    assert_same_weights(traintime.resume(stopped).folder, whole.folder)


def test_a_cache_that_cannot_be_written_is_said_and_trained_without(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = traintime.train(data=str(path), **{**JOB, "seed": 1})

    def refuse(*given: object) -> None:
        raise StorageError("The disk is full")

    shutil.rmtree(place_of(whole_key(whole.folder)))
    monkeypatch.setattr(own_table, "keep_table", refuse)
    heard = Heard()
    result = traintime.train(data=str(path), **{**JOB, "seed": 1}, listener=heard)
    assert said_of(heard, "is not kept: The disk is full")
    assert_same_weights(result.folder, whole.folder)


def whole_key(folder: Path) -> str:
    return json.loads((folder / "data.json").read_text())["key"]


def test_a_class_of_few_rows_is_judged_too(tmp_path: Path):
    rows = [
        [f"{i * i % 97 + 0.5}", f"{i * 7 % 89}", "rare" if i % 70 == 0 else "often"]
        for i in range(280)
    ]
    path = write(tmp_path / "fraud.csv", ("a", "b", "Status"), rows)
    result = traintime.train(data=str(path), **JOB)
    assert [score.support for score in result.test.per_class] == [41, 1]


def test_a_forecast_is_made_without_torch(path: Path):
    code = (
        "import sys, traintime;"
        f"found = traintime.forecast(data={str(path)!r}, label='Status', model='mlp',"
        " batch_size=16);"
        "assert 'torch' not in sys.modules, 'torch was imported';"
        "assert 'polars' not in sys.modules, 'polars was imported';"
        "print(*found.assumptions, sep='\\n')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "is read and a copy is kept: 60 rows, 5 features, 2 classes" in answer.stdout


def test_a_table_is_forecast_on_another_device(path: Path):
    found = traintime.forecast(data=str(path), **{**JOB, "device": "rtx-3090"})
    assert found.input_shape == (5,)
    assert found.total_s.median > 0
    with pytest.raises(InputError, match="is a table, which this model does not take"):
        traintime.forecast(data=str(path), model="resnet50", device="rtx-3090", epochs=1)


def test_networks_for_images_refuse_tables(path: Path):
    with pytest.raises(InputError, match=r"lenet is for images, .* type model=mlp"):
        traintime.train(data=str(path), label="Status", model="lenet")


def test_a_run_on_a_table_is_shown_profiled_and_changed(path: Path):
    result = traintime.train(data=str(path), **JOB)
    assert show_run(result.run)["recipe"]["label"] == "Status"
    assert profile_run(result.run, steps=10).step_s > 0
    assert RunFolder(result.folder).is_finished
    assert list(result.folder.rglob("events.out.tfevents.*"))


def test_a_table_can_be_watched_on_its_test_part_with_normalisation(path: Path):
    fields = {**JOB, "validate_on": "test", "batch_norm": True, "dropout": 0.2, "ema": 0.9}
    assert traintime.train(data=str(path), **fields).status == "finished"
