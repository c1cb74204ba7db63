import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import traintime
from traintime.api.runs import find_run
from traintime.api.watch import RunWatcher, watch_run
from traintime.clock.run_state import RunState
from traintime.errors import RunFolderError, StoppedError
from traintime.ledger.database import Ledger
from traintime.ledger.paths import ledger_path
from traintime.ledger.run_folder import RunFolder
from traintime.train.loop import Loop

from .known_machine import QUICK

STEPS_PER_EPOCH = 20


@pytest.fixture
def finished() -> traintime.TrainResult:
    return traintime.train(**QUICK)


@pytest.fixture
def folder(finished: traintime.TrainResult) -> Iterator[RunFolder]:
    """A run of ten epochs that this process is at work on, before its first step."""
    folder = RunFolder.open(finished.folder)
    for path in finished.folder.iterdir():
        if path.suffix == ".jsonl" or path.name in ("result.json", "report.html"):
            path.unlink()
    folder.write_recipe({**folder.read_recipe(), "epochs": 10})
    folder.claim()
    yield folder
    folder.release()


def add(folder: RunFolder, name: str, **record: Any) -> None:
    with (folder.path / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def add_steps(folder: RunFolder, step: int, elapsed_s: float, loss: float = 0.5) -> None:
    add(
        folder,
        "steps",
        step=step,
        epoch=step / STEPS_PER_EPOCH,
        loss=loss,
        lr=0.01,
        samples_per_s=1000.0,
        elapsed_s=elapsed_s,
        step_time_s=0.1,
    )


def add_epoch(folder: RunFolder, epoch: int, elapsed_s: float, accuracy: float = 0.9) -> None:
    add(
        folder,
        "epochs",
        epoch=epoch,
        step=epoch * STEPS_PER_EPOCH,
        train_loss=0.5,
        validation_loss=0.6,
        validation_accuracy=accuracy,
        samples_per_s=1000.0,
        elapsed_s=elapsed_s,
        margin=0.0,
    )


def look_later(folder: RunFolder, watcher: RunWatcher | None = None) -> RunState:
    """Look after a while in which nothing was written."""
    watcher = watcher or RunWatcher(folder)
    watcher.look()
    time.sleep(0.35)
    return watcher.look()


def test_finished_run_has_its_result(finished: traintime.TrainResult) -> None:
    state = traintime.watch_run(finished.run)
    assert (state.status, state.is_over, state.share_done) == ("finished", True, 1.0)
    assert state.result["test"]["accuracy"] == finished.test.accuracy
    assert state.elapsed_s == finished.total_s
    assert state.phases_s == finished.seconds
    assert [epoch["epoch"] for epoch in state.recent_epochs] == [1, 2]
    assert len(state.curves.validation_accuracy) == 2
    assert state.warnings == ()
    assert watch_run().run == finished.run, "the newest is looked at if none is named"


def test_state_is_plain_json(finished: traintime.TrainResult) -> None:
    shown = json.loads(json.dumps(watch_run(finished.run).to_json(), allow_nan=False))
    assert shown["run"] == finished.run
    assert shown["recipe"]["data"] == "digits"
    assert shown["curves"]["train_loss"][0][0] > 0
    assert shown["is_over"] is True


def test_run_before_its_first_step_prepares(folder: RunFolder) -> None:
    state = watch_run(str(folder.path))
    assert (state.status, state.pid, state.is_here) == ("preparing", os.getpid(), True)
    assert (state.share_done, state.last_step) == (0.0, None)


def test_folder_that_no_process_has_claimed_yet_prepares(folder: RunFolder, home: Path) -> None:
    folder.release()
    assert watch_run(str(folder.path)).status == "interrupted", "the ledger knows that it ran"
    (home / "ledger.sqlite").unlink()
    assert watch_run(str(folder.path)).status == "preparing"


def test_each_look_takes_up_what_is_new(folder: RunFolder) -> None:
    watcher = RunWatcher(folder)
    add_steps(folder, 10, 2.0)
    assert watcher.look().last_step["step"] == 10  # type: ignore[index]
    add_steps(folder, 15, 2.5)
    add(folder, "usage", elapsed_s=2.0, cpu=0.7, others_cpu=0.1, rss_bytes=1, available_bytes=5,
        limit_bytes=6, disk_free_bytes=2**40)  # fmt: skip
    state = watcher.look()
    assert (state.status, state.last_step["step"]) == ("training", 15)  # type: ignore[index]
    assert state.share_done == pytest.approx(15 / 200)
    assert [point.x for point in state.curves.train_loss] == [0.5, 0.75]
    assert state.usage
    assert state.usage["cpu"] == 0.7


def test_look_at_a_long_run_costs_no_more_than_at_a_short_one(folder: RunFolder) -> None:
    with (folder.path / "steps.jsonl").open("a") as file:
        for n in range(1, 30_001):
            record = {"step": n, "epoch": n / 20, "loss": 0.5, "lr": 0.01, "samples_per_s": 1e3}
            file.write(json.dumps({**record, "elapsed_s": n / 5, "step_time_s": 0.2}) + "\n")
    watcher = RunWatcher(folder)
    watcher.look()
    began = time.process_time()
    for n in range(10):
        add_steps(folder, 30_001 + n, 6_001.0 + n)
        assert len(watcher.look().curves.train_loss) <= 320
    assert (time.process_time() - began) / 10 < 0.02, "measured: 0.001"


def test_what_the_time_was_spent_on_follows_from_the_records(folder: RunFolder) -> None:
    add_steps(folder, 10, 3.0)  # 2 s before the first step, then 1 s of training
    add_steps(folder, 20, 4.5)  # 1 s, and half a second of something else
    add_epoch(folder, 1, 5.0)  # half a second
    state = watch_run(str(folder.path))
    assert state.phases_s["prepare"] == pytest.approx(2.0)
    assert state.phases_s["train"] == pytest.approx(2.0)
    assert state.phases_s["validate"] == pytest.approx(0.5)
    assert state.phases_s["the rest"] == pytest.approx(0.5, abs=0.2)


def test_epoch_without_its_validation_is_being_validated(folder: RunFolder) -> None:
    add_steps(folder, 20, 4.0)
    assert look_later(folder).status == "validating"
    add_epoch(folder, 1, 5.0)
    assert look_later(folder).status == "training"


def test_checkpoint_that_is_being_written_is_saving(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    (folder.checkpoints / ".step-13.safetensors.99.tmp").touch()
    assert look_later(folder).status == "saving"


def test_after_the_last_validation_the_run_is_tested(folder: RunFolder) -> None:
    add_steps(folder, 200, 40.0)
    add_epoch(folder, 10, 41.0)
    assert look_later(folder).status == "testing"


def test_time_goes_on_while_nothing_is_written(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    assert 4.3 < look_later(folder).elapsed_s < 6.0


def test_a_list_shows_who_waits_and_the_target_that_holds(folder: RunFolder) -> None:
    def listed() -> tuple[str, str | None]:
        row = next(row for row in traintime.list_runs() if row.name == folder.name)
        return row.status, row.target

    ledger = Ledger(ledger_path())
    row = ledger.row(folder.name)
    assert row is not None
    ledger.put(replace(row, status="running"))
    add(folder, "changes", verb="pause", step=13, epoch=0, elapsed_s=4.0, changes={})
    assert listed() == ("paused", row.target)
    aim = {"target": [None, "accuracy:0.5"]}
    add(folder, "changes", verb="set", step=13, epoch=0, elapsed_s=4.0, changes=aim)
    add(folder, "changes", verb="continue", step=13, epoch=0, elapsed_s=4.0, changes={})
    assert listed() == ("running", "accuracy:0.5")


def test_paused_run_says_so_until_it_goes_on(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    add(folder, "changes", verb="pause", step=13, epoch=0, elapsed_s=4.0, changes={})
    assert watch_run(str(folder.path)).status == "paused"
    add(folder, "changes", verb="continue", step=13, epoch=0, elapsed_s=4.0, changes={})
    assert watch_run(str(folder.path)).status == "training"


def test_pause_of_a_process_that_is_gone_has_passed(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    long_ago = "2020-01-01T00:00:00+00:00"
    add(folder, "changes", verb="pause", step=13, epoch=0, elapsed_s=4.0, changes={}, at=long_ago)
    assert watch_run(str(folder.path)).status == "training"


def test_silence_of_a_run_is_warned_of(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    before = time.time() - 100
    for path in folder.path.iterdir():
        if path.name != "process.json":
            os.utime(path, (before, before))
    (warning,) = watch_run(str(folder.path)).warnings
    assert warning.found == f"No word from process {os.getpid()} for 1 m 40 s."


def test_killed_run_is_interrupted(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    folder.release()
    assert watch_run(str(folder.path)).status == "interrupted"


def test_stopped_run_is_told_from_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    on_start = Loop.start

    def start_and_ask_to_stop(self: Loop) -> object:
        self.stop.signal_number = 15
        return on_start(self)

    monkeypatch.setattr(Loop, "start", start_and_ask_to_stop)
    with pytest.raises(StoppedError):
        traintime.train(**QUICK)
    assert watch_run().status == "stopped"


def test_run_on_another_machine_is_judged_by_its_signs_of_life(folder: RunFolder) -> None:
    add_steps(folder, 13, 4.0)
    signed = folder.read_json("process")
    folder.release()
    folder.write_json("process", {**signed, "host": "elsewhere", "where": "elsewhere/1"})
    state = watch_run(str(folder.path))
    assert (state.status, state.host, state.is_here) == ("training", "elsewhere", False)
    os.utime(folder.path / "process.json", (1.0, 1.0))
    assert watch_run(str(folder.path)).status == "interrupted"
    (folder.path / "process.json").unlink()


def test_resumed_run_forgets_what_came_after_its_checkpoint(folder: RunFolder) -> None:
    watcher = RunWatcher(folder)
    for step in (5, 10, 15):
        add_steps(folder, step, step / 5)
    assert len(watcher.look().curves.train_loss) == 3
    folder.forget_after("steps", "step", 5)
    add_steps(folder, 8, 9.0)
    state = watcher.look()
    assert [point.x for point in state.curves.train_loss] == [0.25, 0.4]
    assert [record["step"] for record in state.recent_steps] == [5, 8]


def test_damaged_records_are_passed_over(folder: RunFolder) -> None:
    add_steps(folder, 5, 1.0)
    with (folder.path / "steps.jsonl").open("a") as file:
        file.write('{"step": 7, "ep\n{"step": 8}\n')
    add_steps(folder, 10, 2.0)
    assert [record["step"] for record in watch_run(str(folder.path)).recent_steps] == [5, 10]


def test_folder_that_is_deleted_while_it_is_watched(folder: RunFolder) -> None:
    watcher = RunWatcher(folder)
    watcher.look()
    shutil.rmtree(folder.path)
    with pytest.raises(RunFolderError, match=r"is gone: its folder .* was deleted"):
        watcher.look()
    folder.path.mkdir()  # for its release


@pytest.mark.parametrize(
    "fields",
    [
        {**QUICK, "epochs": 15},
        {**QUICK, "epochs": 15, "optimizer": "sgd", "schedule": "constant", "batch_size": 16},
        {**QUICK, "model": "lenet", "epochs": 12, "target": "accuracy:0.97"},
    ],
    ids=["mlp", "sgd", "lenet"],
)
def test_healthy_run_is_seen_to_its_end_without_a_warning(fields: dict[str, Any]) -> None:
    training = threading.Thread(target=traintime.train, kwargs=fields, daemon=True)
    training.start()
    seen: list[RunState] = []
    watcher: RunWatcher | None = None
    while training.is_alive():
        with suppress(RunFolderError):  # it has not come so far
            watcher = watcher or RunWatcher(find_run("latest"))
            seen.append(watcher.look())
        time.sleep(0.02)
    assert watcher
    seen.append(watcher.look())
    assert seen[-1].status in ("finished", "target reached")
    assert "training" in {state.status for state in seen}
    assert [state.warnings for state in seen if state.warnings] == []
    assert [s.share_done for s in seen] == sorted(s.share_done for s in seen)
