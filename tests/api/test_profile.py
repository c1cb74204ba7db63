"""Real runs, profiled: finished, stopped, running, and one that has no data of its own time."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import traintime
from tests.api.known_machine import QUICK
from traintime.api.profile import _between
from traintime.api.runs import find_run
from traintime.errors import InputError, RunFolderError
from traintime.ledger.run_folder import RunFolder
from traintime.train import op_profile


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_profile, "MOST_STEPS", 3)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "profile.json"
    }


def test_a_finished_run_tells_where_its_step_goes_and_stays_as_it_is():
    result = traintime.train(**QUICK)
    before = contents(result.folder)
    found = traintime.profile_run("latest", steps=20)
    assert contents(result.folder) == before
    assert json.loads((result.folder / "profile.json").read_text())["step_s"] == found.step_s
    inside = sum(part.seconds for part in found.parts if part.name != "between steps")
    assert inside == pytest.approx(found.step_s)
    assert sum(kind.seconds for kind in found.kinds) == pytest.approx(found.step_s)
    assert found.weights == "the trained weights"
    assert found.steps_measured == 20
    assert {layer.name for layer in found.layers} >= {"linear 64→16", "linear 16→10"}


def test_a_run_without_an_end_is_profiled_from_its_checkpoint():
    result = traintime.train(**QUICK, checkpoint_every_s=0, ema=0.9)
    for gone in ("result.json", "model.safetensors"):
        (result.folder / gone).unlink()
    checkpoints = list((result.folder / "checkpoints").iterdir())
    found = traintime.profile_run(result.run, steps=5)
    assert found.weights.startswith("the weights of step " if checkpoints else "fresh")
    assert any(part.name == "average" for part in found.parts)


def test_a_damaged_checkpoint_is_passed_over_and_left_where_it_is():
    folder = find_run(traintime.train(**QUICK).run)
    for gone in ("result.json", "model.safetensors"):
        (folder.path / gone).unlink()
    damaged = folder.checkpoints / "step-999999999.safetensors"
    damaged.write_bytes(b"torn")
    traintime.profile_run(folder.name, steps=5)
    assert damaged.read_bytes() == b"torn"


@pytest.fixture
def running() -> Iterator[RunFolder]:
    """A run that a living process is at work on."""
    folder = find_run(traintime.train(**QUICK).run)
    folder.claim()
    yield folder
    folder.release()


def test_a_run_that_trains_right_now_is_left_alone_unless_told_otherwise(running: RunFolder):
    with pytest.raises(RunFolderError, match=f"traintime runs stop {running.name}.* --anyway"):
        traintime.profile_run(running.name)
    assert traintime.profile_run(running.name, steps=5, anyway=True).steps_measured == 5


def test_no_step_measures_nothing():
    traintime.train(**QUICK)
    with pytest.raises(InputError, match="--steps 0 measures nothing"):
        traintime.profile_run("latest", steps=0)


def test_a_gain_stands_on_a_forecast_or_a_measurement():
    traintime.train(**QUICK)
    changes = traintime.profile_run("latest", steps=10).changes
    assert changes
    assert all(change.factor is None or change.factor >= 1.05 for change in changes)
    assert {change.basis for change in changes} <= {"forecast", "measured", "not forecast"}


def record(step: int, epoch: float, elapsed_s: float) -> dict[str, float]:
    return {"step": step, "epoch": epoch, "elapsed_s": elapsed_s, "step_time_s": 0.01}


def test_what_lies_between_two_windows_of_an_epoch_is_spent_between_steps():
    # Ten steps of 10 ms take 0.12 s: 2 ms a step are records. Between epochs 5 s, left out.
    records = [
        record(10 * n, n / 4, 0.12 * n + 5 * math.ceil(n / 4 - 1))
        for n in range(1, 13)  # four windows an epoch
    ]
    assert _between(records) == pytest.approx(0.002)


def test_a_run_with_one_window_an_epoch_says_nothing_of_it():
    assert _between([record(10, 1.0, 1.0), record(20, 2.0, 3.0)]) == 0.0
