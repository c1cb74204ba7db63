"""What bad disks do to checkpoints, done to real files on real disks."""

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.disks import SmallDisk, small_disk  # noqa: F401
from traintime.errors import RunFolderError, StorageError
from traintime.train.checkpoint_writer import CheckpointWriter
from traintime.train.checkpoints import Checkpoint, load_latest, save_checkpoint


class Run:
    """A run that saves now and then."""

    def __init__(self, folder: Path) -> None:
        self.checkpoints = folder / "checkpoints"
        self.written: list[int] = []
        self.failed: list[str] = []
        self.writer = CheckpointWriter(
            self.checkpoints,
            self.written.append,
            lambda step, error: self.failed.append(f"{step}: {error}"),
        )

    def save(self, step: int) -> None:
        tensors = {"parameters": torch.full((50_000,), float(step))}  # 200 kB
        self.writer.submit(step, Checkpoint(tensors, {"step": step}))
        self.writer.wait()

    def resumed_from(self) -> int:
        """Return the step of the checkpoint that a resumed run goes on from."""
        checkpoint = load_latest(self.checkpoints, pytest.fail)
        assert checkpoint is not None
        assert torch.equal(
            checkpoint.tensors["parameters"], torch.full((50_000,), float(checkpoint.state["step"]))
        )
        return checkpoint.state["step"]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.checkpoints.iterdir())


@pytest.fixture
def on_small_disk(small_disk: SmallDisk) -> tuple[SmallDisk, Run]:  # noqa: F811
    run = small_disk.path / "run"
    run.mkdir()
    return small_disk, Run(run)


def header_end(content: bytes) -> int:
    return 8 + struct.unpack("<Q", content[:8])[0]


CUTS = {
    "nothing left": lambda content: b"",
    "one byte": lambda content: content[:1],
    "in the header's length": lambda content: content[:5],
    "after the header's length": lambda content: content[:8],
    "in the header": lambda content: content[:100],
    "after the header": lambda content: content[: header_end(content)],
    "in a tensor": lambda content: content[: (header_end(content) + len(content)) // 2],
    "one byte missing": lambda content: content[:-1],
    "one byte too many": lambda content: content + b"\0",
    "zeros to the end": lambda content: content[:4096] + bytes(len(content) - 4096),
    "zeros alone": lambda content: bytes(len(content)),
    "length beyond the file": lambda content: struct.pack("<Q", 2**40) + content[8:],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_torn_checkpoint_is_named_with_the_reason_and_the_one_used_instead(
    cut: str, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, 5, Checkpoint({"a": torch.ones(5000)}, {"step": 5}))
    path = save_checkpoint(tmp_path, 9, Checkpoint({"a": torch.ones(5000)}, {"step": 9}))
    path.write_bytes(CUTS[cut](path.read_bytes()))
    said: list[str] = []
    checkpoint = load_latest(tmp_path, said.append)
    assert checkpoint is not None
    assert checkpoint.state["step"] == 5
    assert len(said) == 1
    assert re.fullmatch(
        r"Checkpoint step-000000009\.safetensors is damaged \([^\n]+\); "
        r"step-000000005\.safetensors is used instead",
        said[0],
    )


def test_when_all_are_damaged_each_is_named_with_its_reason(tmp_path: Path) -> None:
    for step in (5, 9):
        path = save_checkpoint(tmp_path, step, Checkpoint({"a": torch.ones(5)}, {"step": step}))
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"\x07" if step == 5 else b"")
    with pytest.raises(RunFolderError) as caught:
        load_latest(tmp_path, pytest.fail)
    assert str(caught.value) == (
        f"Every checkpoint in '{tmp_path}' is damaged (step-000000009.safetensors: it is empty; "
        "step-000000005.safetensors: its checksum does not match). "
        f"Delete them to start this run over: rm '{tmp_path}'/*.safetensors"
    )


def test_a_full_disk_costs_the_checkpoints_that_it_refuses_and_nothing_else(
    on_small_disk: tuple[SmallDisk, Run],
) -> None:
    disk, run = on_small_disk
    run.save(1)
    run.save(2)
    disk.fill()
    for step in (3, 4):
        run.save(step)
        assert re.match(rf"{step}: The disk is full: '.*step-00000000{step}\S+' ", run.failed[-1])
        assert run.writer.failures_in_a_row == step - 2
        assert run.writer.last_written == 2
        assert run.names() == ["step-000000001.safetensors", "step-000000002.safetensors"]
    assert run.resumed_from() == 2
    disk.free()
    run.save(5)
    assert (run.written, run.writer.failures_in_a_row) == ([1, 2, 5], 0)
    assert run.resumed_from() == 5


def test_a_disk_that_fills_up_within_a_checkpoint_leaves_no_half_of_it(
    on_small_disk: tuple[SmallDisk, Run],
) -> None:
    disk, run = on_small_disk
    run.save(1)
    (disk.path / "other").write_bytes(bytes(700_000))  # 100 kB are left
    run.save(2)
    assert "The disk is full" in run.failed[0]
    assert run.names() == ["step-000000001.safetensors"]
    assert run.resumed_from() == 1


def test_a_disk_that_became_read_only_is_told_and_tried_again(
    on_small_disk: tuple[SmallDisk, Run],
) -> None:
    disk, run = on_small_disk
    run.save(1)
    disk.make_read_only()
    run.save(2)
    assert "cannot be written (Read-only file system). Check with: ls -ld" in run.failed[0]
    assert run.resumed_from() == 1, "reading needs no writing"
    disk.make_writable()
    run.save(3)
    assert run.resumed_from() == 3


def test_a_read_only_disk_is_told_before_training_begins(small_disk: SmallDisk) -> None:  # noqa: F811
    small_disk.make_read_only()
    with pytest.raises(StorageError, match="Read-only file system"):
        Run(small_disk.path)


def test_a_run_that_was_deleted_does_not_come_back_by_halves(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.save(1)
    shutil.rmtree(tmp_path / "run")
    run.save(2)
    gone = tmp_path / "run"
    assert run.failed == [
        f"2: '{gone / 'checkpoints'}' cannot be written: the folder '{gone}' is gone"
    ]
    assert not gone.exists()


def test_a_folder_of_checkpoints_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.save(1)
    shutil.rmtree(run.checkpoints)
    run.save(2)
    assert run.resumed_from() == 2


KILLED_AT_ANY_MOMENT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from traintime.train.checkpoint_writer import CheckpointWriter
from traintime.train.checkpoints import Checkpoint, load_latest

def train(folder, step):
    writer = CheckpointWriter(folder, print, print)
    values = torch.empty(20_000)
    while True:
        step += 1
        writer.submit(step, Checkpoint({"a": values.fill_(step)}, {"step": step}))

def refuse(sentence):
    raise SystemExit(sentence)

folder, step, chance = Path(sys.argv[1]), 0, random.Random(0)
torch.set_num_threads(1)
for _ in range(25):
    child = os.fork()
    if not child:
        train(folder, step)
    time.sleep(0.02 + chance.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoint = load_latest(folder, refuse)
    last = checkpoint.state["step"] if checkpoint else 0
    assert last >= step, (last, step)
    assert not checkpoint or bool((checkpoint.tensors["a"] == last).all())
    assert not list(folder.glob(".*")), "leftovers are gone"
    step = last
print(step)
"""


def test_a_kill_at_any_moment_leaves_a_checkpoint_that_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_AT_ANY_MOMENT, str(tmp_path / "checkpoints")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 10
