from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Timer
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from traintime.errors import DivergedError, StoppedError
from traintime.ledger import commands as commands_module
from traintime.ledger.commands import Commands
from traintime.recipe import Recipe
from traintime.train import checkpoints
from traintime.train import loop as loop_module
from traintime.train.checkpoints import Checkpoint, load_latest
from traintime.train.loop import Job, Loop
from traintime.train.records import ROLL_BACK, Change, StepRecord, still_valid
from traintime.train.signals import StopRequest

from .jobs import STEPS, STEPS_PER_EPOCH, Witness, make_job, state_of


class Commanding(Witness):
    """Gives commands when the run has come to certain steps."""

    def __init__(self, commands: Commands, plan: dict[int, Callable[[Commands], Any]]) -> None:
        super().__init__()
        self._commands, self._plan = commands, plan

    def on_steps(self, record: StepRecord) -> None:
        super().on_steps(record)
        for step in [step for step in self._plan if step <= record.step]:
            self._plan.pop(step)(self._commands)


def steerable(folder: Path, **fields: Any) -> Job:
    return replace(make_job(folder, **fields), commands=Commands(folder))


def run(job: Job, plan: dict[int, Callable[[Commands], Any]]) -> tuple[Loop, Commanding]:
    assert job.commands
    witness = Commanding(job.commands, plan)
    loop = Loop(job, [witness], StopRequest())
    loop.run()
    return loop, witness


@pytest.fixture(autouse=True)
def _every_step_is_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "WINDOW_S", 0.0)


def test_a_change_holds_from_the_next_step_on(tmp_path: Path) -> None:
    job = steerable(tmp_path, schedule="constant", warmup=0.0, lr=0.01)
    loop, witness = run(job, {3: lambda to: to.send("set", {"lr": 0.001, "weight_decay": 0.1})})
    assert [record.lr for record in witness.steps] == [0.01] * 3 + [0.001] * (STEPS - 3)
    (change,) = witness.changes
    assert (change.verb, change.step, change.refused) == ("set", 3, "")
    assert change.changes["lr"] == (0.01, 0.001)
    assert loop.stepper.optimizer.weight_decay == 0.1


def test_the_schedule_goes_on_at_another_peak(tmp_path: Path) -> None:
    _, steered = run(steerable(tmp_path / "whole", lr=0.02), {})
    job = steerable(tmp_path / "changed", lr=0.02)
    _, changed = run(job, {7: lambda to: to.send("set", {"lr": 0.01})})
    before = [record.lr for record in steered.steps]
    after = [record.lr for record in changed.steps]
    assert after[:7] == before[:7]
    assert after[7:] == pytest.approx([lr / 2 for lr in before[7:]])


def test_more_epochs_stretch_what_is_left_of_the_schedule(tmp_path: Path) -> None:
    job = steerable(tmp_path, warmup=0.0, lr=0.02, epochs=4)
    _, witness = run(job, {10: lambda to: to.send("extend", {"epochs": 2})})
    rates = [record.lr for record in witness.steps]
    assert len(rates) == 6 * STEPS_PER_EPOCH
    falls = [earlier - later for earlier, later in pairwise(rates)]
    assert all(fall > 0 for fall in falls)  # without a jump
    assert falls[0] == pytest.approx(0.02 / 20)
    assert falls[-1] == pytest.approx(0.01 / 20)  # half of it was left for twice the steps
    assert witness.epochs[-1].epoch == 6


def test_an_end_before_the_epoch_in_progress_is_refused_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    job = steerable(tmp_path, epochs=4)
    loop, witness = run(job, {12: lambda to: to.send("set", {"epochs": 2})})
    (change,) = witness.changes
    assert "epochs=2 is behind the run, which is in its epoch 3" in change.refused
    assert "runs stop" in change.refused
    assert loop.recipe.epochs == witness.epochs[-1].epoch == 4


def test_a_run_can_be_ended_with_the_epoch_in_progress(tmp_path: Path) -> None:
    job = steerable(tmp_path, epochs=9)
    _, witness = run(job, {12: lambda to: to.send("set", {"epochs": 3})})
    assert witness.changes[0].refused == ""
    assert witness.epochs[-1].epoch == 3
    assert all(record.lr >= 0 for record in witness.steps)


def test_a_target_set_on_the_way_ends_the_run(tmp_path: Path) -> None:
    job = steerable(tmp_path, epochs=9)
    loop, _ = run(job, {2: lambda to: to.send("set", {"target": "accuracy:0.01"})})
    assert loop.progress.status == "target reached"
    assert loop.progress.epoch == 1


def test_what_cannot_be_changed_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    loop, witness = run(steerable(tmp_path), {2: lambda to: to.send("set", {"batch_size": 3})})
    assert "settled when a run begins" in witness.changes[0].refused
    assert loop.progress.status == "finished"
    assert Commands(tmp_path).waiting() == []


def test_save_writes_a_checkpoint_at_once(tmp_path: Path) -> None:
    _, witness = run(steerable(tmp_path), {3: lambda to: to.send("save")})
    assert witness.saved == [3]


def test_stop_saves_and_says_who_asked(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match=r"by .+@.+, process \d+ and saved at step 3") as caught:
        run(steerable(tmp_path), {3: lambda to: to.send("stop")})
    assert caught.value.exit_code == 143


def test_a_paused_run_waits_and_its_time_stands_still(tmp_path: Path) -> None:
    paused_s = 0.6

    def pause(commands: Commands) -> None:
        commands.send("pause")
        Timer(paused_s, lambda: commands.send("continue")).start()

    loop, witness = run(steerable(tmp_path), {4: pause})
    assert [change.verb for change in witness.changes] == ["pause", "continue"]
    assert witness.saved == [4]
    elapsed = [record.elapsed_s for record in witness.steps]
    assert elapsed[4] - elapsed[3] < paused_s / 2
    assert loop.progress.status == "finished"


def test_a_paused_run_can_be_changed_and_stopped(tmp_path: Path) -> None:
    def pause(commands: Commands) -> None:
        for verb, fields in (("pause", {}), ("set", {"lr": 0.001}), ("stop", {})):
            commands.send(verb, fields)

    job = steerable(tmp_path)
    with pytest.raises(StoppedError, match="saved at step 4"):
        run(job, {4: pause})


def test_to_stop_was_meant_for_a_process_that_is_gone(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    for verb in ("stop", "pause"):
        commands.send(verb)
    commands.send("set", {"lr": 0.005})
    sleep(0.01)
    loop, witness = run(steerable(tmp_path), {})
    assert loop.progress.status == "finished"
    assert [(change.verb, change.step) for change in witness.changes] == [("set", 0)]


def checkpoint_of_step(folder: Path, step: int, **fields: Any) -> Checkpoint:
    job = steerable(folder, **fields)
    with pytest.raises(StoppedError):
        run(job, {step: lambda to: to.send("stop")})
    checkpoint = load_latest(folder / "checkpoints", pytest.fail)
    assert checkpoint
    return checkpoint


CHANGED = [
    {7: lambda to: to.send("set", {"lr": 0.004, "weight_decay": 0.05})},
    {5: lambda to: to.send("extend", {"epochs": 2}), 9: lambda to: to.send("set", {"lr": 0.001})},
]


@pytest.mark.parametrize("plan", CHANGED, ids=["set", "extend and set"])
@pytest.mark.parametrize("resumed_at", [2, 7, 12])
def test_resumed_run_changes_where_it_changed_before(
    plan: dict[int, Callable[[Commands], Any]], resumed_at: int, tmp_path: Path
) -> None:
    fields = {"optimizer": "adamw", "dropout": 0.2, "lr": 0.01}
    whole, witness = run(steerable(tmp_path / "whole", **fields), dict(plan))
    early = {step: give for step, give in plan.items() if step < resumed_at}
    early[resumed_at] = lambda to: to.send("stop")
    job = steerable(tmp_path / "resumed", **fields)
    with pytest.raises(StoppedError):
        run(job, early)
    checkpoint = load_latest(tmp_path / "resumed" / "checkpoints", pytest.fail)
    assert checkpoint
    resumed = Loop(steerable(tmp_path / "other", **fields), [], StopRequest())
    resumed.restore(checkpoint, witness.changes)
    resumed.run()
    assert resumed.progress.step == whole.progress.step
    ours, theirs = state_of(resumed), state_of(whole)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_a_command_is_taken_up_once_even_if_it_was_not_removed(tmp_path: Path) -> None:
    checkpoint = checkpoint_of_step(tmp_path, 5)
    command = Commands(tmp_path).send("extend", {"epochs": 3})
    done = change(command.id, verb="extend", step=4, changes={"epochs": (4, 7)})
    witness = Witness()
    loop = Loop(steerable(tmp_path), [witness], StopRequest())
    loop.restore(checkpoint, [done])
    loop.run()
    assert loop.progress.epoch == 7
    assert witness.changes == []
    assert Commands(tmp_path).waiting() == []


def change(identity: str, **fields: Any) -> Change:
    known = {"id": identity, "epoch": 0, "elapsed_s": 1.0, "at": "", "by": "me", "changes": {}}
    return Change(**{**known, **fields})


def test_roll_back_undoes_what_came_after_its_step() -> None:
    early, late = change("1", verb="set", step=3), change("2", verb="set", step=8)
    back, after = change("3", verb=ROLL_BACK, step=5), change("4", verb="set", step=6)
    assert still_valid([early, late, back, after]) == [early, back, after]


class BrokenOnce:
    """A step whose loss is no number at some steps, each so many times."""

    def __init__(self, loop: Loop, times_at: dict[int, int]) -> None:
        self._loop, self._left, self._step = loop, times_at, loop._step

    def __call__(self, position: int) -> Any:
        loss = self._step(position)
        if self._left.get(self._loop.progress.step, 0) > 0:
            self._left[self._loop.progress.step] -= 1
            return loss * float("nan")
        return loss


def run_broken(
    job: Job, plan: dict[int, Callable[[Commands], Any]], times_at: dict[int, int]
) -> tuple[Loop, Commanding]:
    assert job.commands
    witness = Commanding(job.commands, plan)
    loop = Loop(job, [witness], StopRequest())
    loop._step = BrokenOnce(loop, times_at)  # type: ignore[method-assign]
    loop.run()
    return loop, witness


CONSTANT = {"schedule": "constant", "warmup": 0.0, "lr": 0.01}


def test_what_was_set_holds_after_going_back(tmp_path: Path) -> None:
    job = steerable(tmp_path, **CONSTANT)
    plan = {
        4: lambda to: to.send("set", {"lr": 0.02}),
        6: lambda to: to.send("save"),
        8: lambda to: to.send("set", {"lr": 0.01}),  # as at first
    }
    loop, witness = run_broken(job, plan, {12: 1})
    assert loop.recipe.lr == 0.01
    after = [record.lr for record in witness.steps if record.step == 7]
    assert after == [0.02, 0.01]  # it holds from the checkpoint on, the second time


def test_half_the_rate_that_was_set_is_half_of_it(tmp_path: Path) -> None:
    job = steerable(tmp_path, **CONSTANT)
    loop, witness = run_broken(job, {4: lambda to: to.send("set", {"lr": 0.02})}, {9: 2})
    assert loop.recipe.lr == 0.01
    assert "lr=0.01" in witness.events[-1].message
    assert witness.steps[-1].lr == 0.01


def test_attempts_are_counted_over_processes(tmp_path: Path) -> None:
    job = steerable(tmp_path, **CONSTANT)
    with pytest.raises(DivergedError):
        run_broken(job, {}, {9: 9})
    again = [change("x", verb=ROLL_BACK, step=0)] * 2
    loop = Loop(steerable(tmp_path / "again", **CONSTANT), [], StopRequest())
    loop.steering.recall(again)
    loop._step = BrokenOnce(loop, {9: 1})  # type: ignore[method-assign]
    with pytest.raises(DivergedError):
        loop.run()


def test_a_new_command_stands_above_those_that_come_again(tmp_path: Path) -> None:
    early = change("1", verb="set", step=15, epoch=2, changes={"lr": (0.01, 0.003)})
    checkpoint = checkpoint_of_step(tmp_path, 12, **CONSTANT)
    Commands(tmp_path).send("set", {"lr": 0.001})
    witness = Witness()
    loop = Loop(steerable(tmp_path, **CONSTANT), [witness], StopRequest())
    loop.restore(checkpoint, [early])
    loop.run()
    assert {record.lr for record in witness.steps} == {0.001}
    resumed = Loop(steerable(tmp_path / "b", **CONSTANT), [], StopRequest())
    resumed.restore(checkpoint, [early, *witness.changes])
    assert resumed.recipe.lr == 0.001


def test_two_pauses_at_once_are_one(tmp_path: Path) -> None:
    def pause(commands: Commands) -> None:
        commands.send("pause")
        Timer(0.3, lambda: [commands.send(verb) for verb in ("continue", "pause")]).start()
        Timer(0.6, lambda: commands.send("continue")).start()

    loop, _ = run(steerable(tmp_path), {4: pause})
    assert loop.progress.status == "finished"


def test_a_full_disk_refuses_to_save_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(commands: Commands) -> None:
        commands.send("save")
        commands.send("pause")
        Timer(0.2, lambda: commands.send("continue")).start()
        monkeypatch.setattr(checkpoints, "save_file", refuse)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    loop, witness = run(steerable(tmp_path), {4: save})
    assert loop.progress.status == "finished"
    assert "The disk is full" in witness.changes[0].refused


def test_commands_out_of_reach_for_now_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = steerable(tmp_path)
    Commands(tmp_path).send("save")

    def fail(_: object) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(commands_module, "os", SimpleNamespace(scandir=fail))
    loop, _ = run(job, {})
    assert loop.progress.status == "finished"


def test_a_stop_that_came_while_the_process_prepared_is_obeyed(tmp_path: Path) -> None:
    job = steerable(tmp_path)
    Commands(tmp_path).send("stop")
    with pytest.raises(StoppedError, match="before the first step was done"):
        run(job, {})


def test_whoever_follows_a_resumed_run_is_told_what_holds(tmp_path: Path) -> None:
    class Follower(Witness):
        epochs_known: int = 0

        def on_recipe(self, recipe: Recipe) -> None:
            self.epochs_known = recipe.epochs

    checkpoint = checkpoint_of_step(tmp_path, 6)
    past = change("1", verb="extend", step=3, changes={"epochs": (4, 6)})
    later = change("2", verb="set", step=8, epoch=1, changes={"epochs": (6, 5)})
    follower = Follower()
    loop = Loop(steerable(tmp_path), [follower], StopRequest())
    loop.restore(checkpoint, [past, later])
    assert follower.epochs_known == 6
    loop.run()
    assert follower.epochs_known == 5
    assert follower.changes == []
