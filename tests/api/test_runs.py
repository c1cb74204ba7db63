import dataclasses
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import traintime
from traintime.api.listener import Listener
from traintime.api.runs import compare_runs, find_run
from traintime.errors import InputError, RunFolderError, StoppedError
from traintime.ledger.database import Ledger
from traintime.ledger.paths import ledger_path
from traintime.ledger.run_folder import RunFolder
from traintime.train.loop import Loop

from .known_machine import QUICK, records


@pytest.fixture
def run() -> traintime.TrainResult:
    return traintime.train(**QUICK)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a run that a SIGTERM stopped after its third step."""
    step = Loop._step

    def step_and_ask_to_stop(self: Loop, position: int) -> object:
        if self.progress.step == 2:
            self.stop.signal_number = 15
        return step(self, position)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", step_and_ask_to_stop)
        with pytest.raises(StoppedError, match="saved at step 3"):
            traintime.train(**QUICK)
    return traintime.list_runs()[0].name


def test_newest_run_is_listed_first(run: traintime.TrainResult) -> None:
    newer = traintime.train(**QUICK)
    assert [row.name for row in traintime.list_runs()] == [newer.run, run.run]
    assert find_run("latest").name == newer.run


def test_run_is_found_by_name_path_and_from_inside(
    run: traintime.TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_run(run.run).path == run.folder.resolve()
    assert find_run(str(run.folder)).name == run.run
    monkeypatch.chdir(run.folder)
    assert find_run(".").name == run.run


def test_run_in_another_folder_is_found_through_the_ledger(
    run: traintime.TrainResult, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traintime.api.runs.runs_folder", lambda: tmp_path / "elsewhere")
    assert find_run(run.run).path == run.folder


def test_shown_run_has_recipe_forecast_epochs_and_result(run: traintime.TrainResult) -> None:
    known = traintime.show_run(run.run)
    assert known["recipe"]["epochs"] == 2
    assert known["forecast"]["total_s"]["median"] == run.forecast.total_s.median
    assert [epoch["epoch"] for epoch in known["epochs"]] == [1, 2]
    assert known["result"]["test"]["accuracy"] == run.test.accuracy
    assert known["environment"]["versions"]["torch"]
    json.dumps(known, allow_nan=False)


def test_unknown_run_is_answered_with_the_nearest_one(run: traintime.TrainResult) -> None:
    with pytest.raises(RunFolderError, match=f"Did you mean '{run.run}'.*traintime runs list"):
        traintime.show_run(run.run[:-1])


def test_without_any_run_the_answer_is_how_to_make_one() -> None:
    with pytest.raises(RunFolderError, match="traintime demo"):
        traintime.show_run("latest")


def test_deleting_removes_folder_and_row(run: traintime.TrainResult) -> None:
    assert traintime.delete_run("latest") == run.run
    assert not run.folder.exists()
    assert traintime.list_runs() == []


def test_deleting_from_inside_the_folder_removes_the_row_too(
    run: traintime.TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.folder)
    assert traintime.delete_run(".") == run.run
    assert traintime.list_runs() == []


@pytest.mark.parametrize("by", ["name", "latest"])
def test_run_whose_folder_is_gone_is_said_to_be_and_can_be_forgotten(
    by: str, run: traintime.TrainResult
) -> None:
    shutil.rmtree(run.folder)
    name = run.run if by == "name" else by
    with pytest.raises(RunFolderError, match=f"is gone.*traintime runs delete {run.run}"):
        traintime.show_run(name)
    assert traintime.delete_run(name) == run.run
    assert traintime.list_runs() == []


def test_folder_that_is_no_run_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    with pytest.raises(RunFolderError, match="is no run folder"):
        traintime.delete_run(str(tmp_path / "precious"))
    assert (tmp_path / "precious").is_dir()


def test_comparison_shows_what_differs_and_how_it_ended(run: traintime.TrainResult) -> None:
    other = traintime.train(**{**QUICK, "epochs": 1}, dropout=0.5)
    first, second = compare_runs([run.run, other.run])
    assert (first["epochs"], second["epochs"]) == (2, 1)
    assert (first["dropout"], second["dropout"]) == (0.0, 0.5)
    assert "model" not in first
    assert first["accuracy"] == run.test.accuracy
    assert first["forecast_s"] == run.forecast.total_s.median


def test_comparing_one_run_is_refused(run: traintime.TrainResult) -> None:
    with pytest.raises(InputError, match="traintime runs compare RUN RUN"):
        compare_runs([run.run])


def test_stopped_run_can_be_looked_at_and_compared(
    stopped: str, run: traintime.TrainResult
) -> None:
    assert "result" not in traintime.show_run(stopped)
    sides = compare_runs([stopped, run.run])
    assert sides[0]["status"] == "not finished"


def test_finished_run_is_not_resumed(run: traintime.TrainResult) -> None:
    with pytest.raises(RunFolderError, match=r"is finished .*traintime train '.*recipe\.yaml'"):
        traintime.resume(run.run)


def test_stopped_run_is_entered_as_such_and_finishes_when_resumed(stopped: str) -> None:
    (row,) = traintime.list_runs()
    assert row.status == "stopped"
    result = traintime.resume(stopped)
    (after,) = traintime.list_runs()
    assert (after.status, after.began) == ("finished", row.began)
    assert (row.num_processes, after.num_processes) == (1, 2)
    assert (result.run, result.epochs) == (stopped, 2)
    assert after.total_s == result.total_s


def test_resumed_run_has_each_record_once_and_time_goes_on(stopped: str) -> None:
    before = (find_run(stopped).path / "steps.jsonl").read_text().splitlines()
    folder = traintime.resume(stopped).folder
    steps = records(folder, "steps")
    assert [json.dumps(step) for step in steps[: len(before)]] == before
    assert [s["step"] for s in steps] == sorted({s["step"] for s in steps})
    elapsed = [s["elapsed_s"] for s in steps]
    assert elapsed == sorted(elapsed)
    epochs = records(folder, "epochs")
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    eta = [record["elapsed_s"] for record in records(folder, "eta")]
    assert eta == sorted(eta)


def test_records_beyond_the_checkpoint_are_replaced(stopped: str) -> None:
    """A kill comes after records were written that no checkpoint has seen."""
    folder = find_run(stopped).path
    last = json.loads((folder / "steps.jsonl").read_text().splitlines()[-1])
    with (folder / "steps.jsonl").open("a") as file:
        file.write(json.dumps({**last, "step": 9, "loss": -1.0}) + "\n")
        file.write('{"step": 10, "lo')
    eta = json.loads((folder / "eta.jsonl").read_text().splitlines()[-1])
    with (folder / "eta.jsonl").open("a") as file:
        file.write(json.dumps({**eta, "elapsed_s": eta["elapsed_s"] + 1e3, "lost": True}) + "\n")
    epoch = {"epoch": 1, "step": 3, "validation_accuracy": 2.0}
    (folder / "epochs.jsonl").write_text(json.dumps(epoch) + "\n")
    traintime.resume(stopped)
    steps = records(folder, "steps")
    assert all(step["loss"] > 0 for step in steps)
    epochs = records(folder, "epochs")
    assert [e["epoch"] for e in epochs] == [1, 2]
    assert all(e["validation_accuracy"] <= 1 for e in epochs)
    assert "lost" not in (folder / "eta.jsonl").read_text()


def test_run_without_a_checkpoint_starts_over(stopped: str) -> None:
    folder = find_run(stopped)
    for checkpoint in folder.checkpoints.iterdir():
        checkpoint.unlink()
    assert traintime.resume(stopped).epochs == 2
    epochs = records(folder.path, "epochs")
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]


def test_run_that_the_ledger_does_not_know_is_resumed_by_its_path(stopped: str, home: Path) -> None:
    folder = find_run(stopped).path
    (home / "ledger.sqlite").unlink()
    assert traintime.resume(str(folder)).status == "finished"
    assert [row.status for row in traintime.list_runs()] == ["finished"]


def test_run_of_another_version_names_it(stopped: str) -> None:
    folder = find_run(stopped).path
    (folder / "format.json").write_text(json.dumps({"format": 7, "traintime": "9.1"}))
    with pytest.raises(RunFolderError, match=r"format 7.*pip install 'traintime==9\.1'"):
        traintime.resume(stopped)


def test_run_on_a_device_that_is_not_here_is_refused(stopped: str) -> None:
    folder = find_run(stopped)
    forecast = folder.read_json("forecast")
    forecast["execution"]["device"] = "cuda:63"
    folder.write_json("forecast", forecast)
    with pytest.raises(RunFolderError, match=r"on cuda:63, .* traintime train .* device=auto"):
        traintime.resume(stopped)


def test_damaged_checkpoints_are_named_with_the_way_out(stopped: str) -> None:
    for checkpoint in find_run(stopped).checkpoints.iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(RunFolderError, match="rm '"):
        traintime.resume(stopped)


def test_a_run_that_was_killed_before_it_told_the_ledger_is_finished() -> None:
    result = traintime.train(**QUICK)
    ledger = Ledger(ledger_path())
    (done,) = ledger.rows()
    ledger.put(dataclasses.replace(done, status="running", total_s=None, accuracy=None))
    (row,) = traintime.list_runs()
    assert (row.status, row.total_s) == ("finished", result.total_s)
    assert row.accuracy == result.test.accuracy


def test_a_run_whose_process_is_gone_was_interrupted() -> None:
    result = traintime.train(**QUICK)
    ledger = Ledger(ledger_path())
    (row,) = ledger.rows()
    ledger.put(dataclasses.replace(row, status="running"))
    (result.folder / "result.json").unlink()
    folder = RunFolder.open(result.folder)
    folder.claim()
    assert [row.status for row in traintime.list_runs()] == ["running"]
    with pytest.raises(RunFolderError, match=r"is being trained.* traintime runs stop "):
        traintime.delete_run(result.run)
    folder.write_json("process", {**folder.read_json("process"), "birth": "1"})
    assert [row.status for row in traintime.list_runs()] == ["interrupted"]
    folder.release()


def test_a_run_that_another_process_trains_is_not_resumed(stopped: str) -> None:
    path = find_run(stopped).path
    code = (
        "import sys; from pathlib import Path; from traintime.ledger.run_folder import RunFolder\n"
        "RunFolder(Path(sys.argv[1])).claim(); print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        with pytest.raises(RunFolderError, match=f"being trained by process {other.pid} on "):
            traintime.resume(stopped)
        with pytest.raises(RunFolderError, match="is being trained"):
            traintime.delete_run(stopped)
        other.kill()
    assert traintime.resume(stopped).status == "finished"


def test_the_newest_runs_can_be_listed_alone(stopped: str) -> None:
    newer = traintime.train(**QUICK)
    assert [row.name for row in traintime.list_runs(limit=1)] == [newer.run]
    with pytest.raises(InputError, match="limit=-1 is no number of runs"):
        traintime.list_runs(limit=-1)


def test_latest_is_the_last_begun_although_the_clock_was_set_back(
    run: traintime.TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SetBack(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return cls(2001, 2, 3, 4, 5, 6)

    for module in ("api.train", "ledger.run_folder"):
        monkeypatch.setattr(f"traintime.{module}.datetime", SetBack)
    later = [traintime.train(**QUICK) for _ in range(2)]
    assert [result.run[:17] for result in later] == ["20010203-040506-d"] * 2
    assert find_run("latest").name == later[1].run
    names = [row.name for row in traintime.list_runs()]
    assert names == [later[1].run, later[0].run, run.run]


# Moved and copied


def test_moved_run_is_resumed_where_it_is_and_found_there_from_then_on(
    stopped: str, tmp_path: Path
) -> None:
    moved = find_run(stopped).path.rename(tmp_path / stopped)
    with pytest.raises(RunFolderError, match="If it was moved, type its new path"):
        traintime.resume(stopped)
    assert traintime.resume(str(moved)).folder == moved
    assert find_run(stopped).path == moved
    (row,) = traintime.list_runs()
    assert (row.folder, row.status) == (str(moved), "finished")


def test_run_from_another_machine_is_resumed_and_keeps_its_date(
    stopped: str, home: Path, tmp_path: Path
) -> None:
    (before,) = traintime.list_runs()
    moved = find_run(stopped).path.rename(tmp_path / stopped)
    (home / "ledger.sqlite").unlink()  # that machine had a ledger of its own
    owner = {"pid": 123, "host": "gone", "where": "boot/1", "birth": "1", "is_locked": True}
    owner |= {"since": "2025-11-20T12:03:00+00:00", "folder": "/runs", "inode": 1}
    (moved / "process.json").write_text(json.dumps(owner))
    with pytest.raises(RunFolderError, match=r"by process 123 on gone .*type the same again in"):
        traintime.resume(str(moved))
    os.utime(moved / "process.json", (0, 0))
    assert traintime.resume(str(moved)).status == "finished"
    (row,) = traintime.list_runs()
    began = datetime.fromisoformat(row.began) - datetime.fromisoformat(before.began)
    assert abs(began.total_seconds()) < 3


def test_deleting_a_copy_leaves_the_ledger_the_original(
    run: traintime.TrainResult, tmp_path: Path
) -> None:
    copied = shutil.copytree(run.folder, tmp_path / run.run)
    traintime.delete_run(str(copied))
    assert not copied.exists()
    assert [row.name for row in traintime.list_runs()] == [run.run]


def test_run_of_another_version_with_the_same_format_goes_on_and_says_so(stopped: str) -> None:
    folder = find_run(stopped)
    folder.write_json("format", {**folder.read_json("format"), "traintime": "0.0.9"})
    said: list[str] = []
    listener = Listener()
    listener.say = said.append
    assert traintime.resume(stopped, listener=listener).status == "finished"
    line = f"The run was begun by traintime 0.0.9; {traintime.__version__} goes on with it"
    assert said.count(line) == 1


@pytest.mark.parametrize("name", [3, None])
def test_what_names_no_run_is_refused(name: object):
    with pytest.raises(InputError, match=rf"{name} is none; `traintime runs list` shows all"):
        traintime.show_run(name)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("names", [None, "latest", ["latest"]])
def test_fewer_than_two_runs_are_not_compared(names: object):
    with pytest.raises(InputError, match="Comparing needs two runs or more"):
        traintime.compare_runs(names)  # pyright: ignore[reportArgumentType]
