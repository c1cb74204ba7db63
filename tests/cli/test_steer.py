"""A run that is steered from another shell, as a person types it."""

import json
import threading
import time
from collections.abc import Iterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

import traintime
from tests.api.known_machine import QUICK
from traintime.api import steer
from traintime.api.runs import find_run
from traintime.cli.main import app
from traintime.errors import StoppedError
from traintime.ledger.commands import Commands


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, ["runs", *words])


class Training(threading.Thread):
    """A run that lasts until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            traintime.train(**{**QUICK, "epochs": 10_000, "optimizer": "adamw", "lr": 0.01})
        except BaseException as error:
            self.error = error


@pytest.fixture
def training() -> Iterator[Training]:
    thread = Training()
    thread.start()
    given_up_at = time.monotonic() + 30
    while not list(traintime.list_runs()) or not list(find_run("latest").records("steps")):
        assert time.monotonic() < given_up_at
        time.sleep(0.02)
    yield thread
    if thread.is_alive():
        type_in("stop", "latest")
        thread.join(30)


def test_a_run_is_changed_paused_saved_continued_and_stopped(training: Training) -> None:
    name = find_run("latest").name
    said = [
        type_in("set", "latest", "lr=0.001", "target=accuracy:0.999").stdout,
        type_in("pause").stdout,
        type_in("save", name).stdout,
        type_in("continue").stdout,
        type_in("extend", name, "epochs=-3").stderr,
        type_in("stop").stdout,
    ]
    assert said[0].startswith("target none → accuracy:0.999, lr 0.01 → 0.001 from step ")
    assert [text.split()[0] for text in said[1:4]] == ["paused", "saved", "goes"]
    assert "adds no whole epochs" in said[4]
    assert said[5].startswith("stopped at step ")
    assert all(name in text for text in (*said[:4], said[5]))
    training.join(30)
    assert isinstance(training.error, StoppedError)
    assert training.error.exit_code == 143
    done = [change["verb"] for change in find_run("latest").records("changes")]
    assert done == ["set", "pause", "save", "continue", "stop"]


def test_a_run_that_is_paused_is_not_paused_again(training: Training) -> None:
    name = find_run("latest").name
    said = [type_in(verb) for verb in ("continue", "pause", "pause", "continue", "continue")]
    begins = ("was not paused", "paused at step", "is paused already", "goes on", "was not paused")
    for each, begin in zip(said, begins, strict=True):
        assert each.exit_code == 0
        assert each.stdout.startswith(begin)
        assert name in each.stdout
    done = [change["verb"] for change in find_run("latest").records("changes")]
    assert done == ["pause", "continue"]
    assert json.loads(type_in("continue", "--json").stdout)["state"] == "already so"


def test_what_is_asked_of_a_run_that_nobody_trains_waits_for_its_resume(
    training: Training,
) -> None:
    type_in("stop")
    training.join(30)
    name, done = find_run("latest").name, list(find_run("latest").records("epochs"))
    waits = type_in("set", name, f"epochs={len(done) + 1}", "--json")
    assert json.loads(waits.stdout)["state"] == "when resumed"
    assert f"traintime runs resume {name}" in type_in("set", name, "lr=0.002").stdout
    for verb in ("pause", "save", "stop", "continue"):
        refused = type_in(verb, name)
        assert refused.exit_code == 2
        assert f"nothing to {verb}" in refused.stderr
    result = traintime.resume(name)
    assert result.status == "finished"
    assert steer.present_recipe(find_run(name)).lr == 0.002
    refused = type_in("set", name, "lr=0.1")
    assert refused.exit_code == 2
    assert "is finished; there is nothing to steer" in refused.stderr


def test_what_cannot_be_changed_is_refused_before_it_is_sent(training: Training) -> None:
    for words, reason in (
        (("set", "latest", "batch_size=9"), "settled when a run begins"),
        (("set", "latest", "lrr=9"), "Did you mean 'lr'?"),
        (("set", "latest"), "Nothing to change; type: traintime runs set"),
        (("set", "nonsense", "lr=1"), "no run named 'nonsense'"),
        (("extend", "latest", "budget=5m"), "ends by its epochs"),
    ):
        refused = type_in(*words)
        assert (refused.exit_code, "Traceback" in refused.output) == (2, False)
        assert reason in refused.stderr
    assert Commands(find_run("latest").path).waiting() == []


def test_an_end_that_the_run_has_passed_is_refused_while_it_runs_and_when_it_is_stopped(
    training: Training,
) -> None:
    folder, given_up_at = find_run("latest"), time.monotonic() + 30
    while len(list(folder.records("epochs"))) < 2:
        assert time.monotonic() < given_up_at
        time.sleep(0.02)
    type_in("pause")
    for behind in ("running", "stopped"):
        refused = type_in("set", "latest", "epochs=1")
        assert refused.exit_code == 2, behind
        assert f"traintime runs stop {folder.name}" in refused.stderr
        assert "epochs=1 is behind the run, which is in its epoch" in refused.stderr
        type_in("stop")
        training.join(30)
    assert Commands(folder.path).waiting() == []
    assert not folder.is_finished


def test_a_step_that_takes_long_is_not_waited_for(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as in_a_long_step:
        in_a_long_step.setattr(steer, "PATIENCE_S", 0.0)
        in_a_long_step.setattr(Commands, "waiting", lambda commands: [])
        said = type_in("set", "latest", "lr=0.003").stdout
    assert "lr 0.01 → 0.003 as soon as the step is done that is being computed" in said
    type_in("save")  # is taken up after it
    (change, _) = find_run("latest").records("changes")
    assert change["changes"] == {"lr": [0.01, 0.003]}
