import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import traintime
from traintime import Forecast, Interval, TrainResult
from traintime.api.listener import Listener
from traintime.errors import (
    DivergedError,
    InputError,
    MissingExtraError,
    StorageError,
)
from traintime.evaluate.metrics import Classification
from traintime.ledger import run_folder
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe, read_recipe
from traintime.train import checkpoints

from .known_machine import QUICK, records


def files_in_docstring() -> tuple[set[str], set[str]]:
    """Return the files that every run has, and those that only some have."""
    always, _, at_times = (run_folder.__doc__ or "").partition("Where there is a reason for it:")
    lists = [text.splitlines() for text in (always, at_times)]
    every, some = (
        {line.split()[0].rstrip("/") for line in lines if len(line.split("  ")) > 1}
        for lines in lists
    )
    return every, some


def test_training_returns_typed_results() -> None:
    result = traintime.train(**QUICK)
    assert isinstance(result, TrainResult)
    assert isinstance(result.forecast, Forecast)
    assert isinstance(result.forecast.total_s, Interval)
    assert isinstance(result.test, Classification)
    assert (result.status, result.epochs) == ("finished", 2)
    assert result.steps == 2 * result.forecast.steps_per_epoch
    assert result.seconds.keys() == {"prepare", "train", "validate", "checkpoint", "evaluate"}
    assert 0 < sum(result.seconds.values()) <= result.total_s
    assert sum(sum(row) for row in result.test.confusion) == result.test.samples == 270
    assert result.forecast.evidence == "measured on this machine"
    json.dumps(result.to_json(), allow_nan=False)


def test_run_folder_holds_every_file_that_its_docstring_lists() -> None:
    result = traintime.train(**QUICK, checkpoint_every_s=0)
    every, some = files_in_docstring()
    assert {"report.html", "checkpoints", "model.safetensors"} <= every
    assert {path.name for path in result.folder.iterdir()} - some == every
    assert 1 <= len(list((result.folder / "checkpoints").iterdir())) <= 2


def test_recipe_in_the_folder_is_complete_and_trains_the_same_again() -> None:
    result = traintime.train(**QUICK)
    written = yaml.safe_load((result.folder / "recipe.yaml").read_text())
    assert written.keys() == Recipe.model_fields.keys()
    again = traintime.train(result.folder / "recipe.yaml")
    ours, theirs = (load_file(r.folder / "model.safetensors") for r in (again, result))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_saved_weights_are_those_that_were_tested() -> None:
    result = traintime.train(**QUICK)
    weights = load_file(result.folder / "model.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) == result.forecast.parameters
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_ledger_row_has_forecast_and_fact() -> None:
    result = traintime.train(**QUICK)
    (row,) = traintime.list_runs()
    assert (row.name, row.folder) == (result.run, str(result.folder.resolve()))
    assert (row.status, row.data, row.model) == ("finished", "digits", "mlp")
    assert row.forecast_s == result.forecast.total_s.median
    assert row.forecast_low_s < row.forecast_s < row.forecast_high_s
    assert row.forecast_step_s == result.forecast.step_time_s.median
    assert (row.total_s, row.accuracy) == (result.total_s, result.test.accuracy)
    assert row.step_s is None or row.step_s > 0
    assert row.evidence == "measured on this machine"


def test_records_on_disk_count_upwards() -> None:
    folder = traintime.train(**QUICK, checkpoint_every_s=0).folder
    for name, key in (("steps", "step"), ("epochs", "epoch"), ("eta", "elapsed_s")):
        values = [record[key] for record in records(folder, name)]
        assert values == sorted(values)
        assert name == "eta" or len(values) == len(set(values))


def test_recipe_fields_and_yaml_give_the_same_recipe(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**QUICK, "hidden": [16]}))
    by_fields = traintime.train(**QUICK)
    by_object = traintime.train(read_recipe(**QUICK))
    by_yaml = traintime.train(str(path), seed=0)
    texts = {(r.folder / "recipe.yaml").read_text() for r in (by_fields, by_object, by_yaml)}
    assert len(texts) == 1


def test_fields_win_over_the_recipe() -> None:
    result = traintime.train(read_recipe(**QUICK), epochs=1)
    assert result.epochs == 1


def test_target_is_timed() -> None:
    result = traintime.train(**{**QUICK, "epochs": 30}, target="accuracy:0.5")
    assert result.status == "target reached"
    assert result.time_to_target_s is not None
    assert result.time_to_target_s < result.total_s


def test_a_budget_is_kept_and_used() -> None:
    result = traintime.train(data="digits", model="mlp", device="cpu", hidden=16, budget="4s")
    assert result.status == "finished"
    assert 2.5 < result.total_s < 4.5
    recipe = yaml.safe_load((result.folder / "recipe.yaml").read_text())
    assert (recipe["budget"], recipe["epochs"]) == ("4s", 10_000)
    steps = records(result.folder, "steps")
    assert steps[-1]["lr"] < 0.1 * max(step["lr"] for step in steps)
    assert result.forecast.total_s.median == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"budget": "2020-01-01T12:00"}, "is past: it is"),
        ({"budget": "0.1s"}, "not one step"),
        ({"budget": "10"}, "has no unit"),
        ({"budget": "0"}, "more than 0 s"),
        ({"budget": 1050}, "put a time of day into quotes: budget: '17:30'"),
        ({"confidence": 0.2}, "confidence=0.2 does not work"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        traintime.train(**{**QUICK, **fields})


def test_a_target_holds_with_the_confidence_asked_for() -> None:
    job = {"data": "digits", "model": "mlp", "device": "cpu", "epochs": 30, "seed": 1}
    lucky = traintime.train(**job, target="accuracy:0.95")
    sure = traintime.train(**job, target="accuracy:0.95", confidence=0.9)
    assert lucky.status == sure.status == "target reached"
    last = [records(result.folder, "epochs")[-1] for result in (lucky, sure)]
    assert last[0]["validation_accuracy"] >= 0.95
    assert last[1]["validation_accuracy"] >= 0.965  # 270 samples: a deviation of 0.013


def test_early_stopping_leaves_the_best_epochs_model() -> None:
    fields = {**QUICK, "model": "lenet", "batch_norm": True, "epochs": 30, "train_samples": 200}
    del fields["hidden"]
    result = traintime.train(**fields, patience=2, validate_on="test", lr=0.1)
    assert result.status == "stopped early"
    epochs = records(result.folder, "epochs")
    assert result.test.accuracy == max(epoch["validation_accuracy"] for epoch in epochs)


@pytest.mark.parametrize("module", ["torch", "numpy", "PIL", "safetensors"])
def test_without_an_extra_the_error_names_the_command_that_installs_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'traintime\[train\]'"):
        traintime.train(**QUICK)
    assert traintime.list_runs() == []


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"no-such-compiler is not on the PATH.*leave compile="):
        traintime.train(**QUICK, compile=True)


def test_bad_recipe_leaves_nothing_behind(home: Path) -> None:
    with pytest.raises(InputError):
        traintime.train(data="digits", model="mlp", batch_size=5000)
    assert not (home / "runs").exists()


def test_diverged_run_is_entered_as_such_and_can_be_looked_at() -> None:
    with pytest.raises(DivergedError) as raised:
        traintime.train(**QUICK, optimizer="sgd", lr=1e9, warmup=0.0)
    assert raised.value.step >= 1
    (row,) = traintime.list_runs()
    assert row.status == "diverged"
    assert "result" not in traintime.show_run(row.name)


def refuse_to_write(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_disk_that_refuses_checkpoints_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "save_file", refuse_to_write)
    result = traintime.train(**QUICK, checkpoint_every_s=0)
    assert result.status == "finished"
    kinds = {event["kind"] for event in records(result.folder, "events")}
    assert kinds == {"checkpoint failed"}


def test_disk_that_refuses_the_trained_model_is_entered_as_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("traintime.api.session.save_file", refuse_to_write)
    with pytest.raises(StorageError, match="disk is full"):
        traintime.train(**QUICK)
    (row,) = traintime.list_runs()
    assert row.status == "failed"


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, line: str) -> None:
        self.heard.append(line)

    def on_forecast(self, recipe: Recipe, forecast: Forecast, folder: Path) -> None:
        self.heard.append("forecast")
        assert (folder / "forecast.json").is_file()

    def observers(self, recipe: Recipe, clock: object) -> list:
        self.heard.append("training")
        return []

    def on_testing(self, samples: int) -> None:
        self.heard.append(f"testing {samples}")


def test_listener_hears_the_stages_in_order() -> None:
    ear = Ear()
    traintime.train(listener=ear, **QUICK)
    assert ear.heard == ["forecast", "training", "testing 270"]


def test_forecast_before_training_is_the_forecast_of_the_run() -> None:
    before = traintime.forecast(**QUICK)
    after = traintime.train(**QUICK).forecast
    assert dataclasses.asdict(before) == dataclasses.asdict(after)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
)
def test_too_little_memory_names_a_smaller_batch(monkeypatch, error: Exception) -> None:
    from traintime.api.session import Session

    def fail(self: Session, *given: object, resume: bool) -> None:
        raise error

    monkeypatch.setattr(Session, "run", fail)
    with pytest.raises(InputError, match="batch_size=") as caught:
        traintime.train(**QUICK)
    assert "not even in small parts" in str(caught.value)
    assert [row.status for row in traintime.list_runs()] == ["failed"]


def test_killed_run_is_told_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    train_module = sys.modules["traintime.api.train"]
    monkeypatch.setattr(RunFolder, "claim", lambda self: "process 7 was killed")
    ear = Ear()
    for left, is_said in ((10 * 2**20, True), (10 * 2**40, False)):
        monkeypatch.setattr(train_module, "memory_left", lambda pid, left=left: (left, left))
        ear.heard.clear()
        traintime.train(**QUICK, listener=ear)
        assert any("accumulate=2" in line for line in ear.heard) == is_said
