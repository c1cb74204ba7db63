import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

import pytest
import torch

from traintime.errors import StorageError
from traintime.train import checkpoint_writer
from traintime.train.checkpoint_writer import CheckpointWriter
from traintime.train.checkpoints import Checkpoint, load_checkpoint, load_latest, save_checkpoint


class Told:
    """What a writer told, and on which threads."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.threads: set[threading.Thread] = set()

    def on_written(self, step: int) -> None:
        self.written.append(step)
        self.threads.add(threading.current_thread())

    def on_failed(self, step: int, error: StorageError) -> None:
        self.failed.append((step, str(error)))
        self.threads.add(threading.current_thread())


def checkpoint_of(step: int, size: int = 1000) -> Checkpoint:
    return Checkpoint({"parameters": torch.full((size,), float(step))}, {"step": step})


class SlowDisk:
    """A disk whose every sync takes until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go = threading.Event()
        sync = os.fsync

        def wait_and_sync(descriptor: int) -> None:
            assert self.let_go.wait(10)
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", wait_and_sync)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def writer(tmp_path: Path, told: Told) -> CheckpointWriter:
    return CheckpointWriter(tmp_path / "checkpoints", told.on_written, told.on_failed)


def steps_on(folder: Path) -> list[int]:
    return [int(load_checkpoint(path).state["step"]) for path in sorted(folder.iterdir())]


def test_a_checkpoint_is_on_the_disk_after_waiting(
    writer: CheckpointWriter, told: Told, tmp_path: Path
) -> None:
    writer.submit(7, checkpoint_of(7))
    assert writer.wait()
    assert (told.written, told.failed) == ([7], [])
    assert writer.last_written == 7
    assert steps_on(tmp_path / "checkpoints") == [7]


def test_training_goes_on_while_a_slow_disk_writes(
    writer: CheckpointWriter, told: Told, slow_disk: SlowDisk
) -> None:
    writer.submit(7, checkpoint_of(7))
    assert writer.is_busy
    writer.poll()
    assert not writer.wait(timeout_s=0.02)
    assert told.written == []
    slow_disk.let_go.set()
    assert writer.wait()
    assert told.written == [7]


def test_what_is_saved_is_the_state_when_it_was_submitted(
    writer: CheckpointWriter, slow_disk: SlowDisk, tmp_path: Path
) -> None:
    values = torch.arange(300_000.0)
    state = {"step": 7, "seconds": {"train": 1.5}}
    tensors = {"parameters": values, "matrix": values.view(3, -1).t()}
    writer.submit(7, Checkpoint(tensors, state))
    values.zero_()
    state["seconds"]["train"] = 99.0
    slow_disk.let_go.set()
    writer.close()
    saved = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert saved is not None
    assert torch.equal(saved.tensors["parameters"], torch.arange(300_000.0))
    assert torch.equal(saved.tensors["matrix"], torch.arange(300_000.0).view(3, -1).t())
    assert saved.state == {"step": 7, "seconds": {"train": 1.5}}


def test_written_behind_or_at_once_the_content_is_the_same(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(7, 3).t(), "b": torch.tensor(3), "c": torch.randn(5).bfloat16()}
    checkpoint = Checkpoint(tensors, {"step": 7})
    for background in (True, False):
        folder = tmp_path / str(background)
        writer = CheckpointWriter(folder, print, pytest.fail, background=background)
        writer.submit(7, checkpoint)
        writer.close()
        saved = load_latest(folder, pytest.fail)
        assert saved is not None
        assert saved.state == checkpoint.state
        assert saved.tensors.keys() == tensors.keys()
        assert all(torch.equal(saved.tensors[name], tensors[name]) for name in tensors)


def test_no_second_write_begins_before_the_first_has_ended(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, now = [0], [0]

    def save(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
        now[0] += 1
        most[0] = max(most[0], now[0])
        path = save_checkpoint(folder, step, checkpoint)
        now[0] -= 1
        return path

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", save)
    writer = CheckpointWriter(tmp_path, told.on_written, told.on_failed)
    for step in range(20):
        writer.submit(step, checkpoint_of(step, 100_000))
    writer.close()
    assert most == [1]
    assert told.written == list(range(20))
    assert steps_on(tmp_path) == [18, 19]


def test_what_is_told_is_told_on_the_training_thread(writer: CheckpointWriter, told: Told) -> None:
    for step in (1, 2):
        writer.submit(step, checkpoint_of(step))
    writer.close()
    assert told.threads == {threading.current_thread()}


def test_memory_is_taken_once(writer: CheckpointWriter) -> None:
    places = set()
    for step in range(4):
        writer.submit(step, checkpoint_of(step))
        places.add(writer._buffers["parameters"].data_ptr())
        assert writer.snapshot_bytes == 4000
    assert len(places) == 1
    writer.close()
    assert writer.snapshot_bytes == 0


def test_what_a_checkpoint_takes_from_training_is_known(
    writer: CheckpointWriter, slow_disk: SlowDisk
) -> None:
    began = perf_counter()
    writer.submit(1, checkpoint_of(1, 1_000_000))
    submitting_s = writer.cost_s
    assert 0 < submitting_s < perf_counter() - began
    sleep(0.2)  # waiting for a disk takes nothing from training
    slow_disk.let_go.set()
    writer.wait()
    assert submitting_s < writer.cost_s < submitting_s + 0.2


def test_a_state_of_another_shape_gets_other_memory(
    writer: CheckpointWriter, tmp_path: Path
) -> None:
    writer.submit(1, checkpoint_of(1, 100))
    writer.submit(2, Checkpoint({"other": torch.ones(3)}, {}))
    assert writer.snapshot_bytes == 12
    writer.submit(3, checkpoint_of(3, 200))
    writer.close()
    saved = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert saved is not None
    assert torch.equal(saved.tensors["parameters"], torch.full((200,), 3.0))


def test_without_a_background_all_is_done_when_it_returns(tmp_path: Path, told: Told) -> None:
    writer = CheckpointWriter(tmp_path, told.on_written, told.on_failed, background=False)
    writer.submit(7, checkpoint_of(7))
    assert told.written == [7]
    assert not writer.is_busy
    assert steps_on(tmp_path) == [7]
    assert writer.snapshot_bytes == 0


def test_a_writer_knows_the_checkpoints_of_the_process_before(tmp_path: Path) -> None:
    assert CheckpointWriter(tmp_path, print, print).last_written is None
    save_checkpoint(tmp_path, 5, checkpoint_of(5))
    save_checkpoint(tmp_path, 90, checkpoint_of(90))
    assert CheckpointWriter(tmp_path, print, print).last_written == 90


@pytest.mark.parametrize("ask", [CheckpointWriter.poll, CheckpointWriter.wait])
def test_a_mistake_of_ours_is_no_fault_of_the_disk(
    ask: Callable[[CheckpointWriter], object], writer: CheckpointWriter, told: Told
) -> None:
    writer.submit(7, Checkpoint({}, {"step": threading.main_thread}))
    while writer.is_busy:
        pass
    with pytest.raises(TypeError, match="not JSON serializable"):
        ask(writer)
    assert told.failed == []


def test_a_disk_that_hangs_does_not_keep_a_process_from_ending(tmp_path: Path) -> None:
    program = """
import os, sys, threading, torch
from pathlib import Path
from traintime.train.checkpoint_writer import CheckpointWriter
from traintime.train.checkpoints import Checkpoint
os.fsync = lambda _: threading.Event().wait()
writer = CheckpointWriter(Path(sys.argv[1]), print, print)
writer.submit(1, Checkpoint({"a": torch.ones(3)}, {}))
print("busy", writer.is_busy, writer.wait(0.05))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "busy True False\n"


@pytest.mark.gpu
def test_a_gpus_tensors_are_those_of_the_moment_too(
    writer: CheckpointWriter, tmp_path: Path
) -> None:
    values = torch.arange(10_000_000.0, device="cuda")
    writer.submit(7, Checkpoint({"parameters": values}, {}))
    values.zero_()
    writer.close()
    saved = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert saved is not None
    assert torch.equal(saved.tensors["parameters"], torch.arange(10_000_000.0))


@pytest.mark.parametrize("what", ["memory for a copy", "thread"])
def test_without_room_for_writing_behind_it_is_written_at_once(
    what: str, writer: CheckpointWriter, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread" if what == "thread" else "out of memory")

    if what == "thread":
        monkeypatch.setattr(threading.Thread, "start", refuse)
    else:
        monkeypatch.setattr(checkpoint_writer.torch, "empty", refuse)
    writer.submit(7, checkpoint_of(7))
    assert not writer.is_busy
    assert (told.written, told.failed) == ([7], [])
    assert steps_on(tmp_path / "checkpoints") == [7]
