"""A run whose images are gathered while it trains: signalled, and robbed of its workers."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import traintime
from tests.api.known_machine import as_words, records, remember_machine
from tests.cli.processes import Patch, Started, assert_same_end, newest_step, only_run, run
from tests.cli.test_signal_phases import assert_stopped_in_time
from tests.data.pictures import photos
from traintime.data import gather_process
from traintime.data.image_reader import ImageReader
from traintime.ledger.run_folder import RunFolder

JOB: dict[str, Any] = {
    "model": "mlp",
    "hidden": (16,),
    "image_size": 8,
    "batch_size": 8,
    "epochs": 4,
    "dropout": 0.2,
    "flip": True,
    "device": "cpu",
    "precision": "fp32",
    "checkpoint_every_s": 1000,
    "cache": "disk",
}
"""Eleven steps an epoch, and three batches to judge by."""
STEPS_PER_EPOCH = 11
MIDWAY = STEPS_PER_EPOCH + 3 + 4
"""The batch that does not come: of the second epoch, after those of a validation."""
LONG_S = 60


def stall_workers(sign: Path, asked: int = MIDWAY) -> None:
    """Stop all workers, as a disk that hangs does, when so many batches were asked for."""
    fill, lock, numbers = gather_process.Worker.fill, threading.Lock(), iter(range(1000))

    def stalling(worker: Any, slot: int, wanted: Any) -> Any:
        with lock:
            number = next(numbers)
        if number >= asked:
            os.kill(worker.pid, signal.SIGSTOP)
            sign.touch()
        return fill(worker, slot, wanted)

    gather_process.Worker.fill = stalling


def stall_reading(sign: Path, asked: int = MIDWAY) -> None:
    """Hang in the process of the run itself when so many batches were asked for."""
    read, numbers = ImageReader.read, iter(range(1000))

    def stalling(reader: Any, wanted: Any, out: Any) -> Any:
        if next(numbers) >= asked:
            sign.touch()
            time.sleep(LONG_S)
        return read(reader, wanted, out)

    ImageReader.read = stalling


def kill_a_worker(sign: Path) -> None:
    """Kill the worker that is to gather, when a few batches are there."""
    _kill_workers(range(MIDWAY, MIDWAY + 1))


def kill_every_worker(sign: Path) -> None:
    """Kill each worker that is to gather, from the middle on."""
    _kill_workers(range(MIDWAY, 1000))


def _kill_workers(over: range) -> None:
    fill, numbers = gather_process.Worker.fill, iter(range(1000))

    def killed(worker: Any, slot: int, wanted: Any) -> Any:
        if next(numbers) in over:
            os.kill(worker.pid, signal.SIGKILL)
        return fill(worker, slot, wanted)

    gather_process.Worker.fill = killed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("images") / "photos", 60)


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that nothing interrupts, with all images in memory."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(home))
        remember_machine()
    run(home, "train", *as_words(**{**JOB, "cache": "memory"}, data=root))
    return only_run(home)


def words(root: Path, workers: int, **fields: Any) -> list[str]:
    return ["train", *as_words(**{**JOB, "workers": workers, **fields}, data=root)]


def gathering() -> set[int]:
    """Return the processes that gather batches, of whichever run."""
    every = psutil.process_iter(["pid", "cmdline"])
    return {
        each.info["pid"] for each in every if gather_process.WORKER in (each.info["cmdline"] or [])
    }


WAITS: dict[str, tuple[int, Patch]] = {
    "workers": (2, stall_workers),
    "no workers": (0, stall_reading),
    "validation": (2, partial(stall_workers, asked=STEPS_PER_EPOCH)),
    "first batch": (1, partial(stall_workers, asked=0)),
}
LEAST = {"workers": STEPS_PER_EPOCH + 1, "no workers": MIDWAY - 3, "validation": STEPS_PER_EPOCH}


@pytest.mark.parametrize(
    ("name", "number"),
    [*((name, signal.SIGTERM) for name in WAITS), ("workers", signal.SIGINT)],
    ids=str,
)
def test_signal_while_a_batch_is_waited_for_saves_in_time_and_loses_nothing(
    name: str, number: signal.Signals, root: Path, home: Path, whole: RunFolder
) -> None:
    workers, stall = WAITS[name]
    before = gathering()
    process = Started(home, words(root, workers), [stall])
    process.wait_for_sign()
    time.sleep(0.3)  # until all that were gathered before are used up
    folder = only_run(home)
    assert_stopped_in_time(process, number, folder)
    assert gathering() <= before, "no process is left behind"
    assert newest_step(folder) >= LEAST.get(name, 0)
    seen = records(folder.path, "steps") if name in LEAST else []
    assert newest_step(folder) == (seen[-1]["step"] if seen else 0)
    run(home, "runs", "resume", "latest")
    assert_same_end(folder, whole)


def test_killed_worker_is_replaced_and_the_run_ends_as_if_nothing_had_been(
    root: Path, home: Path, whole: RunFolder
) -> None:
    run(home, *words(root, 2), patches=[kill_a_worker])
    folder = only_run(home)
    assert_same_end(folder, whole)
    (event,) = records(folder.path, "events")
    assert event["kind"] == "input worker"
    assert "ended (by signal 9, SIGKILL); another one took its place" in event["message"]


def test_run_whose_workers_cannot_live_ends_saved_and_says_so(
    root: Path, home: Path, whole: RunFolder
) -> None:
    process = Started(home, words(root, 1), [kill_every_worker])
    assert process.ended() == 1
    said = process.errors.replace("\n", " ")
    folder = only_run(home)
    assert "3 processes that gather batches ended one after the other" in said
    assert f"Stopped and saved at step {newest_step(folder)}" in said
    assert newest_step(folder) >= STEPS_PER_EPOCH
    assert "Traceback" not in said
    assert traintime.list_runs()[0].status == "failed"
    run(home, "runs", "resume", "latest")
    assert_same_end(folder, whole)
