"""What TensorBoard shows of a run is what the run's records hold."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import traintime
from traintime.api.tensorboard import TensorBoard
from traintime.clock.eta import Eta
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import read_recipe
from traintime.train.records import Change, Event, Start, StepRecord
from traintime.units import Interval

from .known_machine import QUICK, records

CURVES = {
    "loss/train": ("steps", "loss"),
    "lr": ("steps", "lr"),
    "speed/samples_per_s": ("steps", "samples_per_s"),
    "speed/step_time_s": ("steps", "step_time_s"),
    "speed/data_time_s": ("steps", "data_time_s"),
    "loss/validation": ("epochs", "validation_loss"),
    "accuracy/validation": ("epochs", "validation_accuracy"),
}
KILLED_AFTER_A_CHECKPOINT = """
import os
import traintime

class Killer(traintime.Callback):
    records_left = None

    def on_checkpoint(self, step):
        self.records_left = 3 if self.records_left is None else self.records_left

    def on_steps(self, record):
        if self.records_left is not None:
            self.records_left -= 1
            if not self.records_left:
                os._exit(9)

traintime.train(
    data="digits", model="lenet", batch_size=4, epochs=8, device="cpu", precision="fp32",
    checkpoint_every_s=0.5, callbacks=[Killer()],
)
"""


def single(value: float) -> float:
    """Return a number in single precision, as TensorBoard keeps it."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def kept(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Return what a run's records hold of a curve."""
    name, key = CURVES[tag]
    return [(record["step"], single(record[key])) for record in records(folder, name)]


def drawn(folder: Path) -> EventAccumulator:
    """Read a run's event files as TensorBoard's own library does, every point of them."""
    size = {"scalars": 0, "tensors": 0}
    return EventAccumulator(str(folder / "tensorboard"), size_guidance=size).Reload()


def curve(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in found.Scalars(tag)]


def test_every_curve_of_a_run_is_in_its_event_file():
    before = time.time()
    folder = traintime.train(**QUICK).folder
    found = drawn(folder)
    assert set(CURVES) <= set(found.Tags()["scalars"])
    for tag in CURVES:
        assert curve(found, tag) == kept(folder, tag)
        assert all(before <= point.wall_time <= time.time() for point in found.Scalars(tag))


def test_a_run_that_goes_on_is_drawn_as_one():
    class Fails(traintime.Callback):
        def on_epoch(self, record: object) -> None:
            raise ValueError

    with pytest.raises(traintime.TraintimeError):
        traintime.train(**QUICK, callbacks=[Fails()])
    folder = traintime.resume("latest").folder
    assert len(list((folder / "tensorboard").iterdir())) == 2
    found = drawn(folder)
    for tag in CURVES:
        assert curve(found, tag) == kept(folder, tag)


class FakeClock:
    def __init__(self) -> None:
        self.eta = Eta(0.0, Interval(10.0, 8.0, 12.0), None, None)


@pytest.fixture
def observer(tmp_path: Path) -> Iterator[TensorBoard]:
    found = TensorBoard(RunFolder(tmp_path), FakeClock())  # type: ignore[arg-type]
    yield found
    found.close()


def steps_of(step: int, loss: float = 1.0) -> StepRecord:
    return StepRecord(step, 0.1, loss, 0.1, 100.0, 1.0, 0.01)


def test_the_eta_is_drawn_as_often_as_it_is_worked_out(observer: TensorBoard, tmp_path: Path):
    clock = observer._clock
    observer.on_start(Start(10, 100, 0, 0.0))
    observer.on_steps(steps_of(1))
    clock.eta = Eta(2.0, Interval(10.0, 9.0, 12.0), None, None)
    observer.on_steps(steps_of(2))
    observer.on_steps(steps_of(3))
    found = drawn(tmp_path)
    assert curve(found, "eta/remaining_s") == [(2, 8.0)]
    assert curve(found, "eta/remaining_low_s") == [(2, 7.0)]
    assert curve(found, "eta/remaining_high_s") == [(2, 10.0)]


def test_changes_and_faults_are_told_in_words(observer: TensorBoard, tmp_path: Path):
    by, at = "me@here, process 7", "2026-01-01T12:00:00+00:00"
    observer.on_event(Event("resumed", "Going on", 0, 0.0, at))  # before there is a file
    observer.on_start(Start(10, 100, 0, 0.0))
    changes = {"lr": (0.02, 0.01)}
    recipe = read_recipe(**QUICK)
    observer.on_change(Change("1", "set", 5, 0, 1.0, at, by, changes), recipe)
    refused = Change("2", "extend", 6, 0, 1.0, at, by, {}, "there is no budget")
    observer.on_change(refused, recipe)
    observer.on_change(Change("3", "pause", 7, 0, 1.0, at, by, {}), recipe)
    observer.on_event(Event("out of memory", "Two parts of 64 from here on", 5, 1.0, at))
    found = drawn(tmp_path)
    told = {
        tag: [(text.step, text.tensor_proto.string_val[0].decode()) for text in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }
    assert told == {
        "changes/set": [(5, "**set** lr 0.02 → 0.01 (by me@here, process 7)")],
        "changes/extend": [(6, "**extend** refused: there is no budget (by me@here, process 7)")],
        "changes/pause": [(7, "**pause** (by me@here, process 7)")],
        "events/out_of_memory": [(5, "**out of memory** Two parts of 64 from here on")],
    }


def test_what_a_rollback_undid_is_drawn_no_more(observer: TensorBoard, tmp_path: Path):
    observer.on_start(Start(10, 100, 0, 0.0))
    for step in (5, 10, 15):
        observer.on_steps(steps_of(step))
    observer.on_rollback(Start(10, 100, 7, 1.0))
    observer.on_steps(steps_of(12, loss=2.0))
    assert curve(drawn(tmp_path), "loss/train") == [(5, 1.0), (12, 2.0)]


# A real TensorBoard


@contextmanager
def tensorboard(runs: Path, *options: str) -> Iterator[Callable[[str], Any]]:
    """Start one on a free port, and hand over what asks it."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", "0"]
    with subprocess.Popen(
        [*command, "--reload_interval", "1", *options], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            said = iter(process.stderr.readline, "")
            address = next(found[0] for line in said if (found := re.findall(r"http://\S+", line)))
            yield lambda path: json.load(urlopen(address + "data/plugin/" + path, timeout=10))
        finally:
            process.send_signal(signal.SIGTERM)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["true", "false"], ids=["fast loader", "python loader"])
def test_a_real_tensorboard_shows_a_killed_and_resumed_run(home: Path, loader: str):
    command = [sys.executable, "-c", KILLED_AFTER_A_CHECKPOINT]
    assert subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode == 9
    superseded = records(Path(traintime.list_runs()[0].folder), "steps")[-1]
    folder = traintime.resume("latest").folder
    run = f"{folder.name}/tensorboard"
    with tensorboard(home / "runs", "--load_fast", loader) as ask:

        def shown(tag: str) -> list[tuple[int, float]]:
            found = ask(f"scalars/scalars?{urlencode({'run': run, 'tag': tag})}")
            return [(step, value) for _, step, value in found]

        def is_loaded() -> bool:
            return set(CURVES) <= set(ask("scalars/tags").get(run, {})) and len(
                shown("accuracy/validation")
            ) == len(records(folder, "epochs"))

        wait_for(is_loaded)
        for tag in CURVES:
            assert shown(tag) == kept(folder, tag)
        assert (superseded["step"], superseded["elapsed_s"]) not in [
            (record["step"], record["elapsed_s"]) for record in records(folder, "steps")
        ]


@pytest.mark.slow
def test_a_real_tensorboard_shows_texts(observer: TensorBoard, tmp_path: Path):
    observer.on_start(Start(10, 100, 0, 0.0))
    observer.on_event(Event("spike", "went back to step 3", 5, 1.0, ""))
    observer.on_event(Event("spike", "went back to step 3 again", 9, 1.0, ""))
    with tensorboard(tmp_path) as ask:
        wait_for(lambda: bool(ask("text/tags")))
        assert ask("text/tags") == {"tensorboard": ["events/spike"]}
        texts = ask("text/text?" + urlencode({"run": "tensorboard", "tag": "events/spike"}))
    assert [text["step"] for text in texts] == [5, 9]
    assert "<strong>spike</strong> went back to step 3 again" in texts[-1]["text"]
