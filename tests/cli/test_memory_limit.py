"""Memory that runs out in the product: what is typed, what is said, how it ends."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import traintime
from tests.api.known_machine import QUICK, as_words, records
from tests.train.faults import NO_MEMORY, Calls, Faulty
from traintime.api import session
from traintime.api.runs import find_run
from traintime.cli.main import app
from traintime.train.stepper import Stepper

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def test_job_that_does_not_fit_in_small_parts_is_the_users_to_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stepper, "loss", Faulty(lambda: None, Calls(1), NO_MEMORY, before=True))
    result = CliRunner().invoke(app, ["train", *as_words(**QUICK)])
    assert result.exit_code == 2
    assert "not even in small parts" in " ".join(result.output.split())
    assert traintime.list_runs()[0].status == "failed"
    assert not find_run("latest").is_running


def test_test_that_does_not_fit_is_made_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = traintime.train(**QUICK)
    # Two validations come first.
    monkeypatch.setattr(session, "predict", Faulty(session.predict, [3, 4], NO_MEMORY))
    result = CliRunner().invoke(app, ["train", *as_words(**QUICK)])
    assert result.exit_code == 0, result.output
    folder = find_run("latest")
    messages = [event["message"] for event in records(folder.path, "events")]
    assert [message.partition(" did")[0] for message in messages] == [
        "Judging 1,000 samples at once",
        "Judging 500 samples at once",
    ]
    assert folder.read_json("result")["test"]["accuracy"] == whole.test.accuracy


FREED_UNDER_A_LIMIT = """
import ctypes, mmap, resource
from traintime.hardware.allocator import keep_freed_memory
resource.setrlimit(resource.RLIMIT_DATA, (400 * 2**20,) * 2)
assert not keep_freed_memory()
blocks = [bytearray(2**22) for _ in range(60)]
pinned = blocks.pop()  # the last one stays, so a heap could not shrink
del blocks
mmap.mmap(-1, 300 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
"""


@needs_linux
def test_what_was_freed_under_a_limit_can_be_mapped_anew() -> None:
    """By kernels that are compiled, and as stacks of threads."""
    subprocess.run([sys.executable, "-c", FREED_UNDER_A_LIMIT], check=True)


UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import torch
name, field, beyond = sys.argv[1:4]
held = Path("/proc/self/status").read_text().partition(field + ":")[2].split()[0]
resource.setrlimit(getattr(resource, name), (1024 * int(held) + int(beyond) * 2**20,) * 2)
from traintime.cli.main import main
sys.argv = ["traintime", *sys.argv[4:]]
main()
"""
JOB = {
    "data": "digits",
    "model": "resnet9",
    "train_samples": 1024,
    "batch_size": 1024,
    "epochs": 2,
    "optimizer": "sgd",
    "lr": 0.005,
    "device": "cpu",
    "precision": "fp32",
}
"""Needs about 450 MiB beyond what torch holds."""


def train_under(name: str, field: str, beyond_mib: int) -> subprocess.CompletedProcess[str]:
    """Train where the system gives this process so much memory beyond what torch holds."""
    return subprocess.run(
        [
            *(sys.executable, "-c", UNDER_A_LIMIT, name, field, str(beyond_mib)),
            *("train", *as_words(**JOB)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@needs_linux
@pytest.mark.parametrize(
    ("name", "field", "beyond_mib"),
    [("RLIMIT_DATA", "VmData", 280), ("RLIMIT_AS", "VmSize", 400)],
    ids=["ulimit -d", "ulimit -v"],
)
def test_batch_far_too_large_for_the_limit_is_trained_in_parts(
    name: str, field: str, beyond_mib: int
) -> None:
    done = train_under(name, field, beyond_mib)
    assert done.returncode == 0, done.stderr
    assert re.search(r"batch of 1024 did not fit into memory.* [248] micro-batches", done.stdout)
    folder: Path = find_run("latest").path
    events: list[dict[str, Any]] = records(folder, "events")
    assert {event["kind"] for event in events} == {"out of memory"}
    assert find_run("latest").read_json("result")["steps"] == 2


@pytest.mark.slow
@needs_linux
def test_job_that_the_limit_has_no_room_for_ends_with_what_to_type() -> None:
    done = train_under("RLIMIT_DATA", "VmData", 120)
    assert done.returncode == 2, done.stderr
    assert "not even in small parts" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not find_run("latest").is_running
