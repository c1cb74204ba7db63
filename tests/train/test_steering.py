from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch

from traintime.errors import StoppedError
from traintime.ledger.commands import Commands
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


def test_fewer_epochs_than_are_done_end_the_run_with_this_one(tmp_path: Path) -> None:
    job = steerable(tmp_path, epochs=9)
    _, witness = run(job, {12: lambda to: to.send("set", {"epochs": 1})})
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
    done = change(id=command.id, verb="extend", step=4, changes={"epochs": (4, 7)})
    witness = Witness()
    loop = Loop(steerable(tmp_path), [witness], StopRequest())
    loop.restore(checkpoint, [done])
    loop.run()
    assert loop.progress.epoch == 7
    assert witness.changes == []
    assert Commands(tmp_path).waiting() == []


def change(**fields: Any) -> Change:
    known = {"epoch": 0, "elapsed_s": 1.0, "at": "", "by": "me", "changes": {}}
    return Change(**{**known, **fields})


def test_roll_back_undoes_what_came_after_its_step() -> None:
    early, late = change(id="1", verb="set", step=3), change(id="2", verb="set", step=8)
    back, after = change(id="3", verb=ROLL_BACK, step=5), change(id="4", verb="set", step=6)
    assert still_valid([early, late, back, after]) == [early, back, after]
