"""Runs that are killed without a word, saves included: what is resumed ends like a whole run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import traintime
from tests.api.known_machine import as_words, remember_machine
from tests.cli.processes import JOB, Started, assert_same_end, only_run, run
from traintime.api.runs import find_run
from traintime.ledger.run_folder import RunFolder
from traintime.train import loop as loop_module
from traintime.train.checkpoints import KEPT, Checkpoint, load_checkpoint
from traintime.train.loop import Loop
from traintime.train.stepper import Stepper

KILLED = {**JOB, "epochs": 20, "batch_norm": True, "flip": True, "patience": 20}
STEP_S, WINDOW_S, SYNC_S = 0.004, 0.01, 0.01
LEEWAY_S = 2.0
"""For a window, a validation and two slow writes, on a machine that has other things to do."""

# Done in the processes, before they begin.


def be_slow(sign: Path) -> None:
    """Take a while for a step and for the disk, and look up often, so that much is saved."""
    take, fsync = Stepper.take, os.fsync

    def slow_take(*given: Any) -> Any:
        sleep(STEP_S)
        return take(*given)

    def slow_fsync(descriptor: int) -> None:
        sleep(SYNC_S)
        fsync(descriptor)

    loop_module.WINDOW_S = WINDOW_S
    Stepper.take, os.fsync = slow_take, slow_fsync


def tell_start(sign: Path) -> None:
    """Write down where training begins, and when."""
    begin = Loop.run

    def told(loop: Loop) -> Any:
        start = Begun(perf_counter(), loop.elapsed_s(), loop.progress.step)
        sign.write_text(json.dumps(vars(start)))
        return begin(loop)

    Loop.run = told


def tell_states(sign: Path) -> None:
    """Write down the state of the run after each step and each epoch."""
    attend = Loop._attend

    def told(loop: Loop) -> None:
        with sign.open("a") as file:
            file.write(json.dumps(state_of(loop.state.checkpoint())) + "\n")
        attend(loop)

    loop_module.WINDOW_S = 0.0
    Loop._attend = told


def state_of(checkpoint: Checkpoint) -> list[Any]:
    """Return how far a checkpoint is, and a digest of all that it holds but the times."""
    state, tensors = checkpoint.state, checkpoint.tensors
    times = {"elapsed_s", "seconds"}
    rest = {name: value for name, value in state.items() if name not in times}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(_bytes(tensors[name]))
    return [state["step"], state["epoch"], digest.hexdigest()]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@dataclass(frozen=True)
class Begun:
    """When a process began to train, how long the run had taken by then, and its step."""

    at: float
    elapsed_s: float
    step: int


# The run that nothing interrupts


@dataclass(frozen=True)
class Whole:
    """A whole run, and its state by step and epoch."""

    folder: RunFolder
    states: Mapping[tuple[int, int], str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(home))
        remember_machine()
    process = Started(home, ["train", *as_words(**KILLED)], [tell_states])
    assert process.ended() == 0, process.errors
    lines = map(json.loads, process.sign.read_text().splitlines())
    return Whole(only_run(home), {(step, epoch): digest for step, epoch, digest in lines})


# Killing


@dataclass
class Kills:
    """What came of killing.

    Attributes:
        count: Processes that were killed.
        while_writing: Of these, while a checkpoint was being written: half of it was left.
        before_pruning: Of these, when it had its name and the oldest was still there.
        worst_loss_s: Of training.
        runs: That came to their end.
    """

    count: int = 0
    while_writing: int = 0
    before_pruning: int = 0
    worst_loss_s: float = 0.0
    runs: int = 0

    def note(self, folder: RunFolder) -> None:
        """Look at what a kill left behind."""
        self.count += 1
        self.while_writing += bool(list(folder.checkpoints.glob(".*tmp*")))
        self.before_pruning += len(saved(folder)) > KEPT


def saved(folder: RunFolder) -> list[Path]:
    return sorted(folder.checkpoints.glob("step-*.safetensors"))


def newest(folder: RunFolder) -> str:
    return max((path.name for path in saved(folder)), default="")


def wait_for_moment(process: Started, folder: RunFolder, chance: random.Random) -> bool:
    """Wait for a moment to kill at; say whether the process is still there.

    Any moment of training, or the few milliseconds in which a checkpoint is written, gets its name,
    or the oldest is dropped.
    """
    before = newest(folder)

    def is_writing() -> bool:
        return any(path.name[0] == "." for path in folder.checkpoints.iterdir())

    moments: list[tuple[Callable[[], bool], float]] = [
        (lambda: process.sign.exists(), 0.3),
        (is_writing, 2 * SYNC_S),
        (lambda: newest(folder) > before, 2 * SYNC_S),
    ]
    has_come, longest_s = chance.choice(moments)
    while process.is_alive and not has_come():
        sleep(0.0002)
    sleep(chance.uniform(0, longest_s))
    return process.is_alive


def assert_saved_states_are_those_of(whole: Whole, folder: RunFolder) -> Checkpoint | None:
    """Every checkpoint is that of its step, in all its parts; return the newest."""
    checkpoints = [load_checkpoint(path) for path in saved(folder)]
    for checkpoint in checkpoints:
        step, epoch, digest = state_of(checkpoint)
        assert whole.states[step, epoch] == digest
    return checkpoints[-1] if checkpoints else None


def assert_little_is_lost(
    last: Checkpoint | None, begun: Begun, killed_at: float, every_s: float
) -> float:
    """Return how much training is lost: less than the time between two checkpoints."""
    kept_s = max(begun.elapsed_s, last.state["elapsed_s"] if last else 0.0)
    lost_s = begun.elapsed_s + (killed_at - begun.at) - kept_s
    assert lost_s < every_s + LEEWAY_S
    return lost_s


def kill_at(
    chance: random.Random, home: Path, whole: Whole, words: list[str], every_s: float, kills: Kills
) -> bool:
    """Start a process and kill it; say whether it had come to the run's end before."""
    process = Started(home, words, [be_slow, tell_start])
    process.wait_for(lambda: process.sign.is_file() and process.sign.read_text())
    folder, begun = find_run("latest"), Begun(**json.loads(process.sign.read_text()))
    if words[0] == "runs":
        before = assert_saved_states_are_those_of(whole, folder)
        assert begun.step == (before.state["step"] if before else 0)
    wait_for_moment(process, folder, chance)
    seen, killed_at = newest(folder), perf_counter()
    if not process.kill() or folder.is_finished:
        return True
    kills.note(folder)
    assert newest(folder) >= seen
    last = assert_saved_states_are_those_of(whole, folder)
    lost_s = assert_little_is_lost(last, begun, killed_at, every_s)
    kills.worst_loss_s = max(kills.worst_loss_s, lost_s)
    return False


def kill_often(count: int, home: Path, whole: Whole, every_s: float = 0.0) -> Kills:
    """Kill runs until there were so many kills; each that comes to its end is the whole one."""
    chance, kills = random.Random(count), Kills()
    begin = ["train", *as_words(**{**KILLED, "checkpoint_every_s": every_s})]
    words = begin
    while kills.count < count:
        has_ended = kill_at(chance, home, whole, words, every_s, kills)
        words = ["runs", "resume", "latest"]
        if has_ended or kills.count == count:
            if not has_ended:
                run(home, *words)
            assert_same_end(find_run("latest"), whole.folder)
            traintime.delete_run("latest")
            kills.runs += 1
            words = begin
    return kills


def test_twenty_kills_saves_included_lose_nothing(home: Path, whole: Whole) -> None:
    kills = kill_often(20, home, whole)
    assert kills.while_writing + kills.before_pruning > 0


@pytest.mark.slow
@pytest.mark.parametrize("every_s", [0.0, 0.2])
def test_a_hundred_kills_saves_included_lose_nothing(
    every_s: float, home: Path, whole: Whole, record_property: Callable[[str, object], None]
) -> None:
    kills = kill_often(100, home, whole, every_s)
    assert kills.while_writing > 0
    assert kills.before_pruning > 0
    for name, value in {**asdict(kills), "every_s": every_s}.items():
        record_property(name, value)


# What a kill can leave, put together by hand


def leave_half_a_checkpoint(folder: Path) -> None:
    last = sorted(folder.glob("step-*"))[-1]
    half = last.read_bytes()[: last.stat().st_size // 2]
    (folder / f".step-000000199.safetensors.{2**22 + 1}.tmp").write_bytes(half)


def leave_the_one_before(folder: Path) -> None:
    sorted(folder.glob("step-*"))[-1].unlink()


def tear_the_last(folder: Path) -> None:
    last = sorted(folder.glob("step-*"))[-1]
    os.truncate(last, last.stat().st_size // 2)


def mix_the_last_two(folder: Path) -> None:
    """Give the last one's progress the tensors of the one before."""
    before, last = sorted(folder.glob("step-*"))[-2:]
    with safe_open(last, framework="pt") as file:
        header = file.metadata()
    save_file(load_file(before), last, header)


def leave_nothing(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, whole: Whole) -> Path:
    """The folder of a run that was killed and has two checkpoints."""
    home = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(home))
        remember_machine()
    words = as_words(**{**KILLED, "checkpoint_every_s": 0})
    process = Started(home, ["train", *words], [be_slow])
    process.wait_for(lambda: (home / "runs").is_dir() and len(saved(only_run(home))) == KEPT)
    assert process.kill()
    return only_run(home).path


@pytest.mark.parametrize(
    "leave",
    [
        leave_half_a_checkpoint,
        leave_the_one_before,
        tear_the_last,
        mix_the_last_two,
        leave_nothing,
    ],
    ids=lambda leave: leave.__name__,
)
def test_whatever_a_kill_can_leave_is_gone_on_with(
    leave: Callable[[Path], None], killed: Path, home: Path, whole: Whole
) -> None:
    folder = RunFolder(home / "runs" / killed.name)
    shutil.copytree(killed, folder.path)
    leave(folder.checkpoints)
    run(home, "runs", "resume", killed.name)
    assert_same_end(folder, whole.folder)
    assert not list(folder.checkpoints.glob(".*"))
