"""Real processes that want the same run."""

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from traintime.errors import RunFolderError, StorageError
from traintime.ledger import processes, run_lock
from traintime.ledger.run_folder import RunFolder

CLAIM = """
import sys, time
from pathlib import Path
from traintime.errors import RunFolderError
from traintime.ledger import processes
from traintime.ledger.run_folder import RunFolder

def no_locks(descriptor):
    raise OSError(95, "not supported")

if "without locks" in sys.argv:
    processes._lock = no_locks
folder = RunFolder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    print("claimed", folder.claim(), flush=True)
except RunFolderError as error:
    print("refused", error, flush=True)
sys.stdin.readline()
folder.release()
"""
LOCKS = pytest.mark.parametrize("words", [[], ["without locks"]], ids=["locks", "no locks"])
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "mnist-lenet", "0.1.0")


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(processes, "_lock", no_locks)


@pytest.fixture
def start(folder: RunFolder) -> Iterator[Start]:
    """Starts processes that claim the run at a line on stdin, and release it at another."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, code: str = CLAIM) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder.path), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def claimed_by(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert said(process) == "ready"
    tell(process)
    assert said(process).startswith("claimed")
    return process


def signed(folder: RunFolder) -> dict[str, Any]:
    return json.loads((folder.path / "process.json").read_text())


def sign_as(folder: RunFolder, *, ago_s: float = 0.0, **changes: Any) -> None:
    """Leave a signature in the folder, as a process elsewhere would."""
    other = RunFolder(folder.path)
    other.claim()
    values = {**signed(folder), **changes}
    other.release()
    path = folder.path / "process.json"
    path.touch()
    path.write_text(json.dumps({**values, "inode": path.stat().st_ino}))
    renewed_at = time.time() - ago_s
    os.utime(path, (renewed_at, renewed_at))


FAR = {"host": "host-b", "where": "another boot/1", "pid": 123}


# One at a time


@LOCKS
def test_of_eight_processes_that_start_at_once_one_wins(
    folder: RunFolder, start: Start, words: list[str]
) -> None:
    contenders = [start(*words) for _ in range(8)]
    assert [said(contender) for contender in contenders] == ["ready"] * 8
    for contender in contenders:
        tell(contender)
    answers = {contender.pid: said(contender) for contender in contenders}
    (winner,) = (pid for pid, answer in answers.items() if answer == "claimed None")
    assert signed(folder)["pid"] == winner
    who = f"is being trained by process {winner} on {platform.node()} since "
    for pid, answer in answers.items():
        assert pid == winner or (answer.startswith("refused") and who in answer)


def test_the_second_is_told_who_the_first_is_and_how_to_stop_it(
    folder: RunFolder, start: Start
) -> None:
    first = claimed_by(start())
    with pytest.raises(RunFolderError) as refused:
        folder.claim()
    since = signed(folder)["since"][11:16]
    assert str(refused.value) == (
        f"The run '{folder.name}' is being trained by process {first.pid} on {platform.node()} "
        f"since {since}. Wait for it, or stop it first: traintime runs stop {folder.name}"
    )
    assert folder.is_running


@LOCKS
def test_a_released_run_is_free_and_nothing_is_said(
    folder: RunFolder, start: Start, words: list[str]
) -> None:
    first = claimed_by(start(*words))
    tell(first)
    assert first.wait(10) == 0
    assert not folder.is_running
    assert folder.claim() is None
    folder.release()


def test_two_claims_of_one_folder_are_one(folder: RunFolder) -> None:
    folder.claim()
    assert folder.claim() is None
    folder.release()
    folder.release()
    assert not folder.is_running


@pytest.mark.usefixtures("without_locks")
def test_one_process_cannot_train_a_run_twice_even_without_locks(folder: RunFolder) -> None:
    folder.claim()
    with pytest.raises(RunFolderError, match=f"being trained by process {os.getpid()} "):
        RunFolder(folder.path).claim()
    folder.release()


def test_one_process_cannot_train_a_run_twice(folder: RunFolder) -> None:
    folder.claim()
    with pytest.raises(RunFolderError, match=f"being trained by process {os.getpid()} "):
        RunFolder(folder.path).claim()
    folder.release()


def test_a_full_disk_leaves_the_run_free(folder: RunFolder, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="disk is full"):
            folder.claim()
    assert RunFolder(folder.path).claim() is None


# Left by processes that are gone


@LOCKS
def test_a_killed_owner_is_taken_over_and_that_is_said(
    folder: RunFolder, start: Start, words: list[str], request: pytest.FixtureRequest
) -> None:
    if words:
        request.getfixturevalue("without_locks")
    first = claimed_by(start(*words))
    first.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # ended, and its parent has not asked
    assert not folder.is_running
    said = folder.claim()
    assert said is not None
    assert said.startswith(f"Process {first.pid} on {platform.node()} since ")
    assert said.endswith("has ended without releasing the run; it is taken over")
    assert signed(folder)["pid"] == os.getpid()
    folder.release()


def test_a_number_that_was_given_to_another_process_is_no_owner(folder: RunFolder) -> None:
    sign_as(folder, pid=os.getppid(), birth="1")
    assert not folder.is_running
    assert "has ended without releasing" in str(folder.claim())
    folder.release()


def test_the_owner_is_known_although_the_clock_was_set(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_as(folder, pid=os.getppid(), birth=processes.birth_of(os.getppid()))
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("psutil.boot_time", lambda: 0.0)
    assert folder.is_running


def test_a_forked_child_does_not_keep_the_run_of_its_killed_parent(
    folder: RunFolder, start: Start
) -> None:
    forking = """
import os, sys, time
from pathlib import Path
from traintime.ledger.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.claim()
child = os.fork()
if child == 0:
    folder.release()  # not its own
    time.sleep(30)
print(child, flush=True)
sys.stdin.readline()
"""
    parent = start(code=forking)
    child = int(said(parent))
    try:
        with pytest.raises(RunFolderError, match=f"by process {parent.pid} "):
            folder.claim()
        parent.kill()
        parent.wait()
        assert "has ended" in str(folder.claim())
    finally:
        os.kill(child, signal.SIGKILL)
    folder.release()


@pytest.mark.parametrize("content", ["", "{", "7", '{"pid": 1}', '{"pid": 1, "host": "old"}'])
def test_a_damaged_signature_does_not_keep_a_run(folder: RunFolder, content: str) -> None:
    (folder.path / "process.json").write_text(content)
    assert not folder.is_running
    assert folder.claim() is None
    folder.release()


def test_a_copy_of_a_folder_at_work_is_free(
    folder: RunFolder, start: Start, tmp_path: Path
) -> None:
    first = claimed_by(start())
    copied = RunFolder(shutil.copytree(folder.path, tmp_path / "copy"))
    assert not copied.is_running
    said = copied.claim()
    assert f"process {first.pid} " in str(said).lower()
    assert f"trains another copy of this run, in '{folder.path}'" in str(said)
    copied.release()


def test_a_folder_at_work_stays_so_under_another_name(
    folder: RunFolder, start: Start, tmp_path: Path
) -> None:
    claimed_by(start())
    moved = RunFolder(folder.path.rename(tmp_path / "moved"))
    assert moved.is_running
    with pytest.raises(RunFolderError, match="is being trained"):
        moved.claim()


# Other machines


def test_a_machine_that_gave_a_sign_of_life_is_at_work(folder: RunFolder) -> None:
    sign_as(folder, **FAR, ago_s=12)
    assert folder.is_running
    with pytest.raises(RunFolderError) as refused:
        folder.claim()
    assert "trained by process 123 on host-b since " in str(refused.value)
    assert "(last sign of life 12 s ago). Wait for it, or stop it first" in str(refused.value)
    assert "If that machine is gone, type the same again in 48 s" in str(refused.value)
    assert signed(folder)["host"] == "host-b"


def test_a_machine_without_a_sign_of_life_is_taken_over(folder: RunFolder) -> None:
    sign_as(folder, **FAR, ago_s=125)
    assert not folder.is_running
    said = str(folder.claim())
    assert said.startswith("Process 123 on host-b since ")
    assert said.endswith(" has given no sign of life for 2 m 05 s; it is taken over")
    folder.release()


def test_a_sign_of_life_from_the_future_is_none(folder: RunFolder) -> None:
    sign_as(folder, **FAR, ago_s=-3600)
    assert not folder.is_running


def test_a_clock_that_differs_from_the_file_systems_plays_no_part(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_as(folder, **FAR, ago_s=12)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert folder.is_running


def test_after_a_reboot_the_run_is_free_at_once(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_as(folder, where="the boot before/1", ago_s=20)
    monkeypatch.setattr(run_lock, "seconds_since_boot", lambda: 15.0)
    assert not folder.is_running
    monkeypatch.setattr(run_lock, "seconds_since_boot", lambda: 25.0)  # another of the same name
    assert folder.is_running


def test_a_container_that_is_gone_left_no_lock(folder: RunFolder) -> None:
    boot = processes.where_pids_count().partition("/")[0]
    sign_as(folder, where=f"{boot}/another container", ago_s=1)
    assert folder.is_running  # by its sign of life
    assert "has ended" in str(folder.claim())
    folder.release()


def test_the_owner_renews_its_sign_of_life(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "BEAT_S", 0.02)
    folder.claim()
    path = folder.path / "process.json"
    os.utime(path, (0, 0))
    given_up_at = time.monotonic() + 5
    while path.stat().st_mtime == 0:
        assert time.monotonic() < given_up_at
        time.sleep(0.01)
    folder.release()
    time.sleep(0.1)
    assert not path.exists()


def test_the_owner_learns_that_it_was_taken_over_and_leaves_the_signature_be(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "BEAT_S", 0.02)
    folder.claim()
    folder.refuse_if_lost()
    (folder.path / "process.json").write_text(json.dumps({**signed(folder), **FAR}))

    def wait_to_be_refused() -> None:
        given_up_at = time.monotonic() + 5
        while time.monotonic() < given_up_at:
            folder.refuse_if_lost()
            time.sleep(0.01)

    with pytest.raises(RunFolderError, match="taken over by process 123 on host-b since"):
        wait_to_be_refused()
    folder.release()
    assert signed(folder)["pid"] == 123


@pytest.mark.usefixtures("without_locks")
def test_what_a_crash_left_within_the_instant_of_a_claim_is_named(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE_S", 0.05)
    path = folder.path / ".process.claim"
    path.touch()
    with pytest.raises(RunFolderError, match=f"on any machine, type: rm '{path}'"):
        folder.claim()
    path.unlink()
    assert folder.claim() is None
    folder.release()
