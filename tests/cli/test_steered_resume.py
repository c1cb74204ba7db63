"""Runs that are changed on their way and killed: resumed, they change again at the same step."""

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import pytest

import traintime
from tests.api.known_machine import as_words, records, remember_machine
from tests.cli.processes import (
    JOB,
    Patch,
    Started,
    assert_same_end,
    newest_step,
    only_run,
    run,
)
from traintime.api import session
from traintime.api.steer import steer_run
from traintime.errors import RunFolderError
from traintime.ledger.commands import Commands
from traintime.ledger.run_folder import RunFolder
from traintime.train import loop as loop_module
from traintime.train.loop import Loop
from traintime.train.stepper import Stepper

STEERED = {**JOB, "optimizer": "adamw"}
Given = tuple[int, str, dict[str, Any]]
SLOWER: Given = (15, "set", {"lr": 0.003, "weight_decay": 0.05})
LONGER: Given = (25, "extend", {"epochs": 2})
SAVE: Given = (12, "save", {})


# Done in the processes, before they begin.


def give(sign: Path, commands: Sequence[Given]) -> None:
    """Give each command at its step, once in all processes of the run."""
    attend = Loop._attend

    def told(loop: Loop) -> None:
        for step, verb, fields in commands:
            given = sign.with_name(f"given-{verb}-{step}")
            if loop.progress.step == step and not given.exists():
                given.touch()
                assert loop.job.commands
                loop.job.commands.send(verb, fields)
        attend(loop)

    loop_module.WINDOW_S = 0.0  # each step is a window of its own
    Loop._attend = told


give_both = partial(give, commands=(SLOWER, LONGER))
save_and_give_both = partial(give, commands=(SAVE, SLOWER, LONGER))
give_longer = partial(give, commands=(LONGER,))
give_stop = partial(give, commands=((15, "stop", {}),))


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_step(sign: Path, number: int) -> None:
    take = Stepper.take

    def die_or_take(self: Stepper, progress: Any, position: int, lr: float) -> Any:
        return _die() if progress.step == number else take(self, progress, position, lr)

    Stepper.take = die_or_take


def die_before_removing(sign: Path, verb: str) -> None:
    """What the command did stands in changes.jsonl; the command is still there."""
    remove = Commands.remove

    def die_or_remove(self: Commands, command: Any) -> None:
        return _die() if command.verb == verb else remove(self, command)

    Commands.remove = die_or_remove


def train_slowly(sign: Path) -> None:
    take = Stepper.take

    def slow(*given: Any) -> Any:
        sign.touch()
        sleep(0.02)
        return take(*given)

    Stepper.take = slow


def stop_in_test(sign: Path) -> None:
    predict = session.Session._test

    def stop_first(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(*given)

    session.Session._test = stop_first


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that is changed twice, and that nothing interrupts."""
    home = tmp_path_factory.mktemp("steered")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(home))
        remember_machine()
    run(home, "train", *as_words(**STEERED), patches=[give_both])
    folder = only_run(home)
    changes = records(folder.path, "changes")
    assert [(change["verb"], change["step"]) for change in changes] == [("set", 15), ("extend", 25)]
    assert folder.read_json("result")["epochs"] == 6
    return folder


def killed(home: Path, *patches: Patch) -> RunFolder:
    process = Started(home, ["train", *as_words(**STEERED)], patches)
    assert process.ended() == -signal.SIGKILL, process.errors
    return only_run(home)


def taken_up(folder: RunFolder) -> list[tuple[str, int]]:
    return [(change["verb"], change["step"]) for change in records(folder.path, "changes")]


def test_changes_after_the_checkpoint_are_made_again_at_their_steps(
    home: Path, steered: RunFolder
) -> None:
    folder = killed(home, save_and_give_both, partial(die_before_step, number=33))
    assert newest_step(folder) == 12
    process = Started(home, ["runs", "resume", "latest"], [partial(die_before_step, number=20)])
    assert process.ended() == -signal.SIGKILL, "the second time between the two changes"
    run(home, "runs", "resume", "latest")
    assert taken_up(folder) == [("save", 12), ("set", 15), ("extend", 25)]
    assert_same_end(folder, steered)


def test_changes_are_made_again_if_there_is_no_checkpoint_at_all(
    home: Path, steered: RunFolder
) -> None:
    folder = killed(home, give_both, partial(die_before_step, number=33))
    assert newest_step(folder) == 0
    run(home, "runs", "resume", "latest")
    assert taken_up(folder) == [("set", 15), ("extend", 25)]
    assert_same_end(folder, steered)


@pytest.mark.parametrize("first", [give_both, save_and_give_both], ids=["unsaved", "saved"])
def test_killed_before_a_command_was_removed_the_run_takes_it_up_once(
    first: Patch, home: Path, steered: RunFolder
) -> None:
    folder = killed(home, first, partial(die_before_removing, verb="extend"))
    assert [command.verb for command in Commands(folder.path).waiting()] == ["extend"]
    run(home, "runs", "resume", "latest")
    assert Commands(folder.path).waiting() == []
    assert taken_up(folder)[-2:] == [("set", 15), ("extend", 25)]
    assert_same_end(folder, steered)


def test_commands_from_eight_shells_at_once_are_each_taken_up_once(home: Path) -> None:
    process = Started(home, ["train", *as_words(**STEERED)], [train_slowly])
    process.wait_for_sign()
    shells = [Started(home, ["runs", "extend", "latest", "epochs=1"]) for _ in range(8)]
    assert [shell.ended() for shell in shells] == [0] * 8, [shell.errors for shell in shells]
    process.send(signal.SIGTERM)
    assert process.ended() == 143
    folder = only_run(home)
    changes = records(folder.path, "changes")
    assert [change["changes"]["epochs"][1] for change in changes] == list(range(5, 13))
    assert len({change["id"] for change in changes}) == 8
    assert Commands(folder.path).waiting() == []
    run(home, "runs", "resume", "latest")
    assert folder.read_json("result")["epochs"] == 12


def test_what_a_dead_process_was_told_to_do_is_dropped(home: Path) -> None:
    folder = killed(home, partial(die_before_step, number=13))
    with pytest.raises(RunFolderError, match="nothing to pause"):
        steer_run("latest", "pause")
    for verb in ("stop", "pause", "save"):  # given in the instant before it died
        Commands(folder.path).send(verb)
    run(home, "runs", "resume", "latest")
    assert Commands(folder.path).waiting() == []
    assert not (folder.path / "changes.jsonl").exists()
    assert traintime.list_runs()[0].status == "finished"


def test_commands_given_while_nobody_is_at_work_are_taken_up_when_resumed(
    home: Path, steered: RunFolder
) -> None:
    process = Started(home, ["train", *as_words(**STEERED)], [give_stop])
    assert process.ended() == 143
    folder = only_run(home)
    assert steer_run("latest", "set", **SLOWER[2]).state == "when resumed"
    dying = [give_longer, partial(die_before_step, number=31)]
    assert Started(home, ["runs", "resume", "latest"], dying).ended() == -signal.SIGKILL
    run(home, "runs", "resume", "latest")
    assert taken_up(folder) == [("stop", 15), ("set", 15), ("extend", 25)]
    assert_same_end(folder, steered)


def test_a_run_that_was_stopped_in_its_test_is_not_said_to_be_changed(
    home: Path, steered: RunFolder
) -> None:
    process = Started(home, ["train", *as_words(**STEERED)], [give_both, stop_in_test])
    assert process.ended() == 143
    folder = only_run(home)
    steer_run("latest", "extend", epochs=2)
    run(home, "runs", "resume", "latest")
    assert "trained to its end" in records(folder.path, "changes")[-1]["refused"]
    assert_same_end(folder, steered)
