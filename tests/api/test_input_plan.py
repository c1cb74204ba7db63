"""Where images are gathered from, and by how many."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.pictures import photos
from traintime.api import input_plan
from traintime.api.input_plan import with_input
from traintime.api.job import KnownJob, read_job
from traintime.data.input_plan import InputPlan
from traintime.data.own_images import used_images
from traintime.errors import InputError
from traintime.hardware.machine import Gpu, Machine

MIB = 2**20
ALL_BYTES = 60 * 3 * 64 * 64
MACHINE = Machine("a processor", 6, 3.0, 64 * MIB, 64 * MIB, (Gpu("a GPU", 64 * MIB),), "Linux")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos", 30)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set how much room there is."""

    def set_room(memory: int = 64 * MIB, **of_machine: Any) -> None:
        monkeypatch.setattr(input_plan, "memory_left", lambda pid: (memory, memory))
        machine = replace(MACHINE, **of_machine)
        monkeypatch.setattr(input_plan, "detect_machine", lambda disk: machine)

    set_room()
    return set_room


def job(root: Path, **fields: Any) -> KnownJob:
    asked = {"model": "lenet", "image_size": 64, "batch_size": 8, **fields}
    return read_job(None, {"data": str(root), **asked})


def plan(root: Path, device: str = "cpu", **fields: Any) -> InputPlan:
    return with_input(job(root, **fields), device).input


def test_images_that_fit_stay_in_memory(root: Path, room: Any):
    assert plan(root) == InputPlan("memory", 0, "")
    assert "no workers are needed" in plan(root, workers=2).said


def test_a_data_set_of_the_catalogue_is_always_in_memory(room: Any):
    room(memory=1)
    known = read_job(None, {"data": "mnist", "model": "lenet"})
    assert with_input(known, "cpu").input.is_resident


def test_what_memory_has_no_room_for_stays_on_the_disk(root: Path, room: Any):
    room(memory=2 * ALL_BYTES - 1)
    assert (plan(root).cache, plan(root).workers) == ("disk", 1)
    room(memory=2 * ALL_BYTES)
    assert plan(root).is_resident


def test_what_the_disk_has_no_room_for_either_is_decoded_by_all_cores(root: Path, room: Any):
    room(memory=2 * ALL_BYTES - 1, disk_free_bytes=ALL_BYTES - 1)
    assert (plan(root, batch_size=2).cache, plan(root, batch_size=2).workers) == ("none", 6)


def test_a_gpu_needs_room_beside_the_images(root: Path, room: Any):
    room(gpus=(Gpu("a small GPU", 2 * ALL_BYTES - 1),))
    found = plan(root, "cuda:0")
    assert (found.cache, found.workers) == ("disk", 4)
    assert "of the GPU's" in found.said
    assert plan(root, "cpu").is_resident


def test_batches_ahead_leave_room_for_the_rest(root: Path, room: Any):
    batch_bytes = 8 * 3 * 64 * 64
    room(memory=4 * 3 * batch_bytes, disk_free_bytes=0)
    assert plan(root).workers == 1, "three batches in a quarter of it: two ahead for one"
    room(memory=1, disk_free_bytes=0)
    assert plan(root).workers == 1, "as long as it goes"


@pytest.mark.parametrize("workers", [0, 3])
def test_as_many_workers_as_were_asked_for_gather(root: Path, room: Any, workers: int):
    found = plan(root, cache="disk", workers=workers)
    assert found.workers == workers
    who = "3 workers gather batches ahead" if workers else "each batch is gathered when it is"
    assert who in found.said


def test_too_full_a_disk_is_refused_with_how_much_is_missing(root: Path, room: Any):
    room(disk_free_bytes=ALL_BYTES - 10 * 1024)
    with pytest.raises(
        InputError, match=r"take 720 KiB on the disk, and 10 KiB of that are missing"
    ):
        plan(root, cache="disk")


def test_what_an_ended_process_left_of_a_copy_does_not_take_its_room(
    root: Path, room: Any, home: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = job(root, cache="disk")
    place = home / "cache/data/own" / used_images(asked.recipe, asked.facts).key[:32]
    place.mkdir(parents=True)
    leftover = place / ".images.bin.999999.tmp"
    leftover.touch()

    def detect(disk: Path) -> Machine:
        return replace(MACHINE, disk_free_bytes=0 if leftover.exists() else ALL_BYTES)

    monkeypatch.setattr(input_plan, "detect_machine", detect)
    assert with_input(asked, "cpu").input.cache == "disk"


def test_a_run_that_goes_on_is_not_refused(root: Path, room: Any):
    room(memory=1, disk_free_bytes=1)
    for cache in ("memory", "disk"):
        assert with_input(job(root, cache=cache), "cpu", resumed=True).input.cache == "none"
