"""Training on images of one's own, from the folder to the report."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import traintime
from tests.data.pictures import cut_short, photos
from tests.data.test_own_images import rot
from traintime.api import input_plan
from traintime.api.listener import Listener
from traintime.api.profile import profile_run
from traintime.api.runs import find_run
from traintime.data.fetch import load_raw
from traintime.errors import InputError, RunFolderError, StoppedError
from traintime.train.loop import Loop

from .known_machine import records

JOB: dict[str, Any] = {
    "model": "mlp",
    "hidden": (8,),
    "image_size": 8,
    "batch_size": 8,
    "epochs": 2,
    "device": "cpu",
    "precision": "fp32",
}


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photos(tmp_path / "my photos", 30)


def stop_in(root: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    """Return the name of a run on images that a SIGTERM stopped after its third step."""
    return stop(monkeypatch, data=str(root), **{**JOB, **fields})


def stop(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    """Return the name of a run that a SIGTERM stopped after its third step."""
    step = Loop._step

    def step_and_ask_to_stop(self: Loop, position: int) -> object:
        if self.progress.step == 2:
            self.stop.signal_number = 15
        return step(self, position)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", step_and_ask_to_stop)
        with pytest.raises(StoppedError):
            traintime.train(**fields)
    return traintime.list_runs()[0].name


def forget_copies(home: Path) -> None:
    shutil.rmtree(home / "cache" / "data" / "own")


def assert_same_weights(ours: Path, theirs: Path) -> None:
    first, second = (load_file(path / "model.safetensors") for path in (ours, theirs))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_digits_as_image_files_are_learned(tmp_path: Path) -> None:
    raw = load_raw("digits", print)
    root = tmp_path / "Ziffern für alle"
    for index, (image, label) in enumerate(zip(raw.images, raw.labels, strict=True)):
        (root / f"digit {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(root / f"digit {label}" / f"{index}.png")
    result = traintime.train(
        data=str(root), model="lenet", image_size=16, epochs=4, device="cpu", precision="fp32"
    )
    assert result.test.accuracy > 0.9
    assert [score.name for score in result.test.per_class][:2] == ["digit 0", "digit 1"]
    assert "Ziffern-für-alle-lenet" in result.run
    report = result.report.read_text()
    assert "LeNet on Ziffern für alle" in report.replace("\u2011", "-")
    assert "could not be read" not in report


def test_the_recipe_holds_the_absolute_path(
    root: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.chdir(root.parent)
    result = traintime.train(data="./my photos", **JOB)
    recipe = yaml.safe_load((result.folder / "recipe.yaml").read_text())
    assert recipe["data"] == str(root)
    monkeypatch.chdir(home)
    again = traintime.train(result.folder / "recipe.yaml")
    assert_same_weights(again.folder, result.folder)


def test_colour_images_of_any_size_train_every_network(root: Path) -> None:
    for model in ("lenet", "resnet9"):
        fields = {**JOB, "model": model, "image_size": 24, "epochs": 1, "train_samples": 16}
        del fields["hidden"]
        assert traintime.train(data=str(root), **fields).status == "finished"


def test_damaged_images_are_left_out_told_once_and_named(root: Path) -> None:
    cut_short(root / "cats/003.png", 0.4)
    (root / "dogs/<b>.jpg").write_text("404 Not Found")
    heard = Heard()
    result = traintime.train(data=str(root), **JOB, max_damaged=0.05, listener=heard)
    assert [line for line in heard.lines if "cannot be read" in line] == [
        "2 of 61 images cannot be read and are left out: cats/003.png (image file is truncated), "
        "dogs/<b>.jpg (is no image of a known format)"
    ]
    noted = json.loads((result.folder / "data.json").read_text())
    assert noted["images"] == 61
    assert list(noted["left_out"]) == ["cats/003.png", "dogs/<b>.jpg"]
    (event,) = records(result.folder, "events")
    assert event["kind"] == "damaged data"
    report = result.report.read_text()
    assert "2 of 61 images could not be read and were left out" in report
    assert "dogs/&lt;b&gt;.jpg" in report


def test_too_many_damaged_images_are_refused_with_what_to_type(root: Path) -> None:
    for number in range(5):
        (root / f"cats/{number:03d}.png").write_bytes(b"")
    with pytest.raises(InputError) as raised:
        traintime.train(data=str(root), **JOB)
    said = str(raised.value)
    assert "5 of 60 images in" in said
    assert "cats/000.png (is empty), cats/001.png (is empty), cats/002.png (is empty) and 2" in said
    assert "At most 1 may be (max_damaged=0.01)" in said
    typed = said.rpartition("max_damaged=")[2]
    assert traintime.train(data=str(root), **JOB, max_damaged=float(typed)).status == "finished"


@pytest.mark.parametrize("is_copy_there", [True, False])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch, is_copy_there: bool
) -> None:
    (root / "cats/003.png").write_bytes(b"")
    whole = traintime.train(data=str(root), **JOB)
    stopped = stop_in(root, monkeypatch)
    if not is_copy_there:
        forget_copies(home)
    heard = Heard()
    result = traintime.resume(stopped, listener=heard)
    assert_same_weights(result.folder, whole.folder)
    assert not [line for line in heard.lines if "cannot be read" in line], "said when it began"


def test_an_image_that_is_damaged_in_between_is_replaced_and_named(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = stop_in(root, monkeypatch)
    before = json.loads((find_run(stopped).path / "data.json").read_text())
    forget_copies(home)
    rot(root / "dogs/010.png")
    heard = Heard()
    result = traintime.resume(stopped, listener=heard)
    assert result.status == "finished"
    assert any("others of their class stand in for them: dogs/010.png" in s for s in heard.lines)
    noted = json.loads((result.folder / "data.json").read_text())
    assert noted["replaced"] == {"dogs/010.png": "is no image of a known format"}
    assert (noted["mean"], noted["std"]) == (before["mean"], before["std"])
    kinds = [event["kind"] for event in records(result.folder, "events")]
    assert kinds.count("damaged data") == 1
    assert "another of the class stood in" in result.report.read_text()


def test_with_a_kept_copy_a_damaged_disk_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = traintime.train(data=str(root), **JOB)
    stopped = stop_in(root, monkeypatch)
    for path in root.glob("*/*.png"):
        rot(path)
    assert_same_weights(traintime.resume(stopped).folder, whole.folder)


def test_a_folder_that_has_changed_is_refused_unless_a_copy_is_kept(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = traintime.train(data=str(root), **JOB)
    stopped = [stop_in(root, monkeypatch) for _ in range(2)]
    (root / "cats/007.png").unlink()
    (root / "birds").mkdir()
    for number in range(3):
        shutil.copy(root / "dogs/001.png", root / f"birds/{number}.png")
    heard = Heard()
    result = traintime.resume(stopped[0], listener=heard)
    assert_same_weights(result.folder, whole.folder)
    assert any("changed since the run began (1 removed" in line for line in heard.lines)
    forget_copies(home)
    with pytest.raises(RunFolderError) as raised:
        traintime.resume(stopped[1])
    assert "1 removed (cats/007.png); 3 added (birds/0.png, birds/1.png" in str(raised.value)
    assert f"traintime train '{find_run(stopped[1]).path / 'recipe.yaml'}'" in str(raised.value)


def test_a_folder_that_is_gone_is_refused_unless_a_copy_is_kept(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = [stop_in(root, monkeypatch) for _ in range(2)]
    root.rename(root.with_name("my photos 2"))
    assert traintime.resume(stopped[0]).status == "finished"
    forget_copies(home)
    with pytest.raises(RunFolderError, match=r"There is no folder.*Did you mean '.*my photos 2'"):
        traintime.resume(stopped[1])


def test_a_damaged_list_of_the_images_says_how_to_train_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = stop_in(root, monkeypatch)
    cut_short(find_run(stopped).path / "data-files.gz")
    with pytest.raises(RunFolderError, match=r"list of the images.*damaged.*traintime train '"):
        traintime.resume(stopped)


def test_without_its_notes_on_damage_a_run_finds_it_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "cats/003.png").write_bytes(b"")
    whole = traintime.train(data=str(root), **JOB)
    stopped = stop_in(root, monkeypatch)
    (find_run(stopped).path / "data.json").write_text("{")
    assert_same_weights(traintime.resume(stopped).folder, whole.folder)


def test_a_read_only_folder_is_trained_on(root: Path) -> None:
    before = sorted(root.rglob("*"))
    for path in (root, *before):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert traintime.train(data=str(root), **JOB).status == "finished"
    finally:
        for path in (root, root / "cats", root / "dogs"):
            path.chmod(0o755)
    assert sorted(root.rglob("*")) == before


def test_images_that_do_not_fit_into_memory_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    needed = 2 * 60 * 3 * 64 * 64
    monkeypatch.setattr(input_plan, "memory_left", lambda pid: (needed // 2, needed))
    with pytest.raises(InputError, match=r"Type image_size=40 or train_samples=12$"):
        traintime.train(data=str(root), **{**JOB, "image_size": 64}, cache="memory")
    assert not (home / "runs").exists()


def test_the_validation_folder_is_the_test_set_and_that_is_said(root: Path) -> None:
    whole = root.parent / "whole"
    whole.mkdir()
    root.rename(whole / "train")
    photos(whole / "val", 10)
    (whole / "notes").mkdir()
    heard = Heard()
    result = traintime.train(data=str(whole), **JOB, listener=heard)
    assert result.test.samples == 20
    assert any("'val' is what the final score is of" in line for line in heard.lines)
    assert any("Passed over" in line and "notes" in line for line in heard.lines)


def test_a_forecast_is_made_without_torch(root: Path) -> None:
    code = (
        "import sys, traintime;"
        f"found = traintime.forecast(data={str(root)!r}, model='lenet', batch_size=16);"
        "assert 'torch' not in sys.modules, 'torch was imported';"
        "print(*found.assumptions, sep='\\n')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "reading 60 images the first time takes" in answer.stdout


def test_the_forecast_of_a_second_run_counts_on_the_copy(root: Path) -> None:
    first = traintime.train(data=str(root), **JOB)
    second = traintime.forecast(data=str(root), **JOB)
    assert any("a copy of them is kept" in line for line in second.assumptions)
    assert second.stages_s["prepare"].median < first.forecast.stages_s["prepare"].median


def test_a_folder_on_another_device_is_forecast(root: Path) -> None:
    ours = traintime.forecast(data=str(root), model="resnet9", device="rtx-3090", batch_size=16)
    theirs = traintime.forecast(data=str(root), model="resnet50", device="rtx-3090", batch_size=16)
    assert ours.total_s.median > 0
    assert theirs.total_s.median > 0


def test_a_network_that_cannot_take_so_small_images_says_which_it_can(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"at least 8×8 pixels and my photos has 4×4.*image_size=32"
    ):
        traintime.forecast(data=str(root), model="resnet9", image_size=4)


def test_a_profile_of_the_run_uses_the_same_images(root: Path) -> None:
    result = traintime.train(data=str(root), **JOB)
    assert profile_run(result.run, steps=10).step_s > 0


def test_pictures_of_mistakes_are_shown_in_colour(root: Path) -> None:
    random = np.random.default_rng(0)
    for path in root.glob("*/*.png"):  # nothing to be learned
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    result = traintime.train(data=str(root), **JOB)
    assert json.loads((result.folder / "result.json").read_text())["wrong"]
