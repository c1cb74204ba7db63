"""Real processes, stopped and killed: the run that goes on ends bit for bit like a whole one."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import traintime
from tests.api.known_machine import as_words, records, remember_machine
from traintime.api.runs import find_run
from traintime.cli.main import app

JOB = {
    "data": "digits",
    "model": "lenet",
    "train_samples": 600,
    "epochs": 120,
    "dropout": 0.2,
    "flip": "true",
    "ema": 0.9,
    "device": "cpu",
    "precision": "fp32",
}
"""About three seconds; ten steps an epoch."""
PATIENCE_S = 120


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "traintime", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    given_up_at = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < given_up_at, "nothing happened"
        time.sleep(0.002)


def newest_checkpoint(home: Path) -> str:
    found = sorted(home.glob("runs/*/checkpoints/step-*.safetensors"))
    return found[-1].name if found else ""


def end_after_next_checkpoint(
    process: subprocess.Popen[str], home: Path, number: signal.Signals, delay_s: float
) -> tuple[int, str]:
    """Wait until the process has saved something new, and a moment longer; then signal it."""
    before = newest_checkpoint(home)
    wait_for(lambda: newest_checkpoint(home) > before, process)
    time.sleep(delay_s)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> traintime.TrainResult:
    """The run that nothing interrupts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(tmp_path_factory.mktemp("whole")))
        remember_machine()
        return traintime.train(**JOB)


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def assert_records_are_of_one_run(folder: Path, whole: traintime.TrainResult) -> None:
    steps, epochs, eta = (records(folder, name) for name in ("steps", "epochs", "eta"))
    assert [step["step"] for step in steps] == sorted({step["step"] for step in steps})
    assert steps[-1]["step"] == whole.steps
    # Each step counts once: the windows, laid side by side, cover the run.
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, whole.epochs + 1))
    for kept in (steps, epochs, eta):
        elapsed = [record["elapsed_s"] for record in kept]
        assert elapsed == sorted(elapsed)
    same = ("train_loss", "validation_loss", "validation_accuracy", "step")
    for mine, theirs in zip(epochs, records(whole.folder, "epochs"), strict=True):
        assert [mine[key] for key in same] == [theirs[key] for key in same]


def test_terminated_interrupted_and_killed_run_ends_like_a_whole_one(
    home: Path, whole: traintime.TrainResult
) -> None:
    chance = random.Random()
    process = start("train", *as_words(**JOB, checkpoint_every_s=0))
    code, errors = end_after_next_checkpoint(process, home, signal.SIGTERM, chance.uniform(0, 0.2))
    name = find_run("latest").name
    assert code == 143
    assert f"traintime runs resume {name}" in errors
    assert traintime.list_runs()[0].status == "stopped"

    process = start("runs", "resume", "latest")
    code, errors = end_after_next_checkpoint(process, home, signal.SIGINT, chance.uniform(0, 0.2))
    assert code == 130
    assert f"traintime runs resume {name}" in errors
    spent = records(find_run(name).path, "steps")[-1]["elapsed_s"]

    began_at = time.monotonic()
    process = start("runs", "resume", "latest")
    code, _ = end_after_next_checkpoint(process, home, signal.SIGKILL, chance.uniform(0, 0.2))
    assert code == -signal.SIGKILL
    killed_at = time.monotonic()
    time.sleep(3)  # between two processes; belongs to neither
    going_on_at = time.monotonic()
    resumed = CliRunner().invoke(app, ["runs", "resume", "latest"])
    most_s = (killed_at - began_at) + (time.monotonic() - going_on_at)
    assert resumed.exit_code == 0, resumed.output
    assert "Going on from step" in resumed.stdout
    folder = find_run(name).path
    assert_same_weights(folder, whole.folder)
    assert_records_are_of_one_run(folder, whole)
    assert not list((folder / "checkpoints").glob(".*"))
    result = find_run(name).read_json("result")
    assert (result["steps"], result["epochs"]) == (whole.steps, whole.epochs)
    assert spent < result["total_s"] < spent + most_s + 1  # saving before the interrupt
    assert sum(result["seconds"].values()) <= result["total_s"]


def test_run_killed_before_any_checkpoint_starts_over_and_ends_the_same(
    home: Path, whole: traintime.TrainResult
) -> None:
    process = start("train", *as_words(**JOB, checkpoint_every_s=1000))
    wait_for(lambda: any(f.stat().st_size for f in home.glob("runs/*/epochs.jsonl")), process)
    process.kill()
    process.communicate()
    result = traintime.resume("latest")
    assert_same_weights(result.folder, whole.folder)
    assert_records_are_of_one_run(result.folder, whole)


@pytest.mark.slow
def test_run_killed_at_twenty_random_moments_ends_like_a_whole_one(
    home: Path, whole: traintime.TrainResult
) -> None:
    for kill in range(20):
        chance = random.Random(kill)
        process = start("train", *as_words(**JOB, checkpoint_every_s=0))
        end_after_next_checkpoint(process, home, signal.SIGKILL, chance.uniform(0, 2.5))
        if find_run("latest").is_finished:
            result_folder = find_run("latest").path
        else:
            result_folder = traintime.resume("latest").folder
        assert_same_weights(result_folder, whole.folder)
        assert_records_are_of_one_run(result_folder, whole)
        traintime.delete_run("latest")


@pytest.mark.slow
def test_run_killed_ten_times_on_its_way_ends_like_a_whole_one(
    home: Path, whole: traintime.TrainResult
) -> None:
    chance = random.Random(1)
    words = ["train", *as_words(**JOB, checkpoint_every_s=0)]
    for _ in range(10):
        end_after_next_checkpoint(start(*words), home, signal.SIGKILL, chance.uniform(0, 0.3))
        if find_run("latest").is_finished:
            break
        words = ["runs", "resume", "latest"]
    if not find_run("latest").is_finished:
        traintime.resume("latest")
    folder = find_run("latest").path
    assert_same_weights(folder, whole.folder)
    assert_records_are_of_one_run(folder, whole)
