"""Training on images of one's own that do not stay in memory."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import traintime
from tests.api.test_own_images import JOB, assert_same_weights, forget_copies, stop_in
from tests.data.pictures import cut_short, flip_bits, photos
from tests.data.test_own_images import never, rot
from tests.disks import SmallDisk, small_disk
from traintime.api import input_plan
from traintime.api.profile import profile_run
from traintime.api.runs import find_run
from traintime.cli.main import app
from traintime.clock.warnings import LEAST_WINDOWS, late_data
from traintime.data import image_reader
from traintime.data.catalogue import find
from traintime.data.own_images import used_images
from traintime.errors import DataUnavailableError, InputError
from traintime.recipe import read_recipe
from traintime.train.loop import Loop

from .known_machine import records

assert small_disk, "a fixture"
WAYS = [("disk", 0), ("disk", 2), ("none", 0), ("none", 2)]
IMAGE_BYTES = 3 * 8 * 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photos(tmp_path / "my photos", 30)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    left = 60 * IMAGE_BYTES
    monkeypatch.setattr(input_plan, "memory_left", lambda pid: (left, left))


def train(root: Path, cache: str, workers: int | str = "auto", **fields: Any) -> Any:
    return traintime.train(data=str(root), **{**JOB, **fields}, cache=cache, workers=workers)


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_the_weights_are_those_of_a_run_with_all_images_in_memory(
    root: Path, cache: str, workers: int
) -> None:
    (root / "cats/003.png").write_bytes(b"")
    augmented = {"flip": True, "crop": 1, "dropout": 0.1}
    whole = train(root, "memory", **augmented)
    result = train(root, cache, workers, **augmented)
    assert_same_weights(result.folder, whole.folder)
    assert result.test == whole.test
    found, expected = (json.loads((r.folder / "data.json").read_text()) for r in (result, whole))
    assert found == expected


@pytest.mark.parametrize(("cache", "workers"), WAYS)
def test_a_stopped_run_goes_on_bit_for_bit(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch, cache: str, workers: int
) -> None:
    whole = train(root, "memory")
    stopped = stop_in(root, monkeypatch, cache=cache, workers=workers)
    forget_copies(home)
    assert_same_weights(traintime.resume(stopped).folder, whole.folder)


@pytest.mark.usefixtures("little_memory")
def test_what_does_not_fit_into_memory_is_gathered_from_the_disk_and_that_is_said(
    root: Path,
) -> None:
    forecast = traintime.forecast(data=str(root), **JOB)
    assert forecast.assumptions[-1] == (
        "60 images of 8×8 pixels take 22.5 KiB of memory, and 11.2 KiB are left: the images stay "
        "on the disk, decoded, and one worker gathers batches ahead"
    )
    assert traintime.train(data=str(root), **JOB).status == "finished"


@pytest.mark.usefixtures("little_memory")
def test_without_room_on_the_disk_images_are_decoded_for_each_batch(
    root: Path, home: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, small_disk.path / "home")
    monkeypatch.setenv("TRAINTIME_HOME", str(small_disk.path / "home"))
    (small_disk.path / "filler").write_bytes(bytes(900 * 1024))
    job = {**JOB, "image_size": 64, "epochs": 1}
    forecast = traintime.forecast(data=str(root), **job)
    assert any("are decoded again for each batch" in line for line in forecast.assumptions)
    with pytest.raises(InputError, match=r"take .* on the disk, and .* are missing.*cache=none"):
        traintime.forecast(data=str(root), **job, cache="disk")


def test_the_forecast_says_when_gathering_limits_a_step(root: Path) -> None:
    fields = {**JOB, "cache": "none", "workers": 1}
    forecast = traintime.forecast(data=str(root), **fields)
    assert forecast.bound_by == "input"
    (line,) = (line for line in forecast.assumptions if "limits a step" in line)
    assert "So would cache=disk" in line
    resident = traintime.forecast(data=str(root), **JOB)
    assert forecast.step_time_s.median > 2 * resident.step_time_s.median


def test_the_forecast_counts_the_batches_ahead_and_not_the_images(root: Path) -> None:
    stored = traintime.forecast(data=str(root), **JOB, cache="disk", workers=1)
    assert stored.memory_by_part["data"] == 3 * JOB["batch_size"] * (IMAGE_BYTES + 8)


def test_nothing_is_decoded_again_where_it_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(root, "disk", 0)
    monkeypatch.setattr(image_reader, "read_image", never)
    assert train(root, "disk", 0).status == "finished"
    forecast = traintime.forecast(data=str(root), **JOB, cache="disk")
    assert any("a copy of them is kept" in line for line in forecast.assumptions)


def test_a_flipped_byte_of_the_copy_changes_nothing_and_is_said(root: Path, home: Path) -> None:
    whole = train(root, "disk", 0)
    (array,) = home.glob("cache/data/own/*/images.bin")
    good = array.read_bytes()
    flip_bits(array)
    result = train(root, "disk", 2)
    assert_same_weights(result.folder, whole.folder)
    assert [event["kind"] for event in records(result.folder, "events")] == ["damaged copy"]
    assert array.read_bytes() == good


@pytest.mark.parametrize("file", ["images.bin", "table.bin", "content.json"])
def test_a_truncated_copy_is_made_anew(root: Path, home: Path, file: str) -> None:
    whole = train(root, "disk", 0)
    (path,) = home.glob(f"cache/data/own/*/{file}")
    good = path.read_bytes()
    cut_short(path)
    assert_same_weights(train(root, "disk", 0).folder, whole.folder)
    assert path.read_bytes() == good


def break_while_training(root: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Damage images of the training part after the first step; return their names."""
    recipe = read_recipe(data=str(root), **JOB)
    used = used_images(recipe, find(recipe.data, 8))
    names = [used.names[row] for row in used.parts.train[:count]]
    step = Loop._step

    def step_and_break(self: Loop, position: int) -> object:
        if self.progress.step == 1:
            for name in names:
                rot(root / name)
        return step(self, position)

    monkeypatch.setattr(Loop, "_step", step_and_break)
    return names


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_while_it_trains_is_replaced_and_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (name,) = break_while_training(root, monkeypatch, 1)
    result = train(root, "none", workers)
    assert result.status == "finished"
    noted = json.loads((result.folder / "data.json").read_text())
    assert noted["replaced"] == {name: "is no image of a known format"}
    (event,) = records(result.folder, "events")
    assert event["kind"] == "damaged data"
    assert f"{name} cannot be read any more (is no image of a known format)" in event["message"]
    assert name in result.report.read_text()


def test_too_many_that_break_end_the_run_saved_with_what_to_type(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_while_training(root, monkeypatch, 20)
    with pytest.raises(DataUnavailableError) as raised:
        train(root, "none", 0)
    said = str(raised.value)
    assert "2 of 60 images in" in said
    assert "At most 1 may be (max_damaged=0.01)" in said
    assert re.search(r"Stopped and saved at step \d+\. To go on, type: traintime runs resume", said)
    assert traintime.list_runs()[0].status == "failed"


def test_with_a_kept_copy_a_damaged_disk_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(root, "memory")
    break_while_training(root, monkeypatch, 20)
    assert_same_weights(train(root, "disk", 1).folder, whole.folder)


def test_a_resumed_run_takes_another_way_where_there_is_no_room(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(root, "memory")
    stopped = stop_in(root, monkeypatch, cache="memory")
    monkeypatch.setattr(input_plan, "memory_left", lambda pid: (1, 1))
    assert_same_weights(traintime.resume(stopped).folder, whole.folder)


def test_a_profile_waits_for_batches_as_the_run_does(root: Path) -> None:
    result = train(root, "none", 1)
    found = profile_run(result.run, steps=10)
    assert any(part.name == "data" for part in found.parts)
    assert find_run(result.run).is_finished


def test_the_wait_for_batches_is_in_the_records_and_warned_of(root: Path) -> None:
    result = train(root, "none", 0)
    recipe = read_recipe(data=str(root), **JOB)
    warning = late_data(records(result.folder, "steps") * LEAST_WINDOWS, recipe)
    assert warning
    assert "of each step waits for a batch" in warning.found


def test_help_explains_the_fields() -> None:
    text = " ".join(CliRunner().invoke(app, ["train", "--help"]).output.split())
    assert "cache" in text
    assert "workers" in text
