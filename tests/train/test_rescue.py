import json
import math
import os
import signal
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest
import torch

import traintime
from tests.api.known_machine import records, remember_machine
from traintime.api.runs import find_run
from traintime.errors import DivergedError, StoppedError
from traintime.train import loop as loop_module
from traintime.train.checkpoints import drop_from, load_before, load_checkpoint, load_latest
from traintime.train.loop import Loop
from traintime.train.records import ROLL_BACK
from traintime.train.rescue import ATTEMPTS, MOST, SPIKE
from traintime.train.signals import StopRequest
from traintime.train.stepper import Stepper

from .faults import Calls, Faulty
from .jobs import SMALL, StopAt, Witness, make_job, state_of, train

FIELDS = {"batch_norm": True, "ema": 0.9, "dropout": 0.1, "flip": True}
Break = Callable[[Loop], None]


def spoil(name: str, by: float = math.nan) -> Break:
    """Return what breaks a number of a part of the state, as a checkpoint names it."""

    def break_it(loop: Loop) -> None:
        part = next(t for key, t in loop.state.tensors().items() if key.startswith(name))
        part.view(-1)[3] = by

    return break_it


PARTS = ["parameters", "optimizer.momentum", "average", "buffer"]


def break_steps(loop: Loop, at: Container[int], break_it: Break) -> None:
    """Break something right after some of the steps that this process takes."""

    def broken(done: Any) -> Any:
        break_it(loop)
        return done

    loop.stepper.take = Faulty(loop.stepper.take, at, broken)  # type: ignore[method-assign]


def lose_sight(loop: Loop) -> None:
    """Look at no step, as it is on a GPU."""
    loop.stepper._is_looked_at = False
    loop.stepper._before = None


def broken_run(
    folder: Path, witness: Witness, at: Container[int], break_it: Break, **fields: Any
) -> Loop:
    loop = Loop(make_job(folder, **{**FIELDS, **fields}), [witness], StopRequest())
    break_steps(loop, at, break_it)
    return loop


def assert_same(one: Loop, other: Loop) -> None:
    ours, theirs = state_of(one), state_of(other)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def assert_checkpoints_are_finite(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*.safetensors"):
        tensors = load_checkpoint(path).tensors
        assert [n for n, t in tensors.items() if not t.double().isfinite().all()] == []


def rollbacks(witness: Witness) -> list[str]:
    return [event.message for event in witness.events if event.kind == "rolled back"]


# A fault that passes


@pytest.mark.parametrize("saves", [True, False], ids=["to a checkpoint", "to the beginning"])
@pytest.mark.parametrize("sees", [True, False], ids=["cpu", "gpu"])
@pytest.mark.parametrize("part", PARTS)
def test_run_that_was_rolled_back_ends_bit_for_bit_like_an_undisturbed_one(
    part: str, sees: bool, saves: bool, tmp_path: Path
) -> None:
    whole, _ = train(make_job(tmp_path / "whole", **FIELDS))
    witness = Witness()
    loop = broken_run(tmp_path, witness, [12], spoil(part))
    if not sees:
        lose_sight(loop)
    if saves:
        take = loop.stepper.take
        loop.stepper.take = Faulty(  # type: ignore[method-assign]
            lambda *step: (loop.save() if loop.progress.step == 8 else None) or take(*step), [], abs
        )
    assert loop.run().status == "finished"
    assert_same(loop, whole)
    (message,) = rollbacks(witness)
    assert message.startswith("Training diverged at step ")
    assert message.endswith(f"Going on from {'step 8' if saves else 'the beginning'}, as before")
    assert_checkpoints_are_finite(tmp_path)


@pytest.mark.parametrize("by", [math.nan, math.inf, 1e30], ids=str)
def test_loss_of_a_gpu_is_seen_when_the_window_closes(by: float, tmp_path: Path) -> None:
    whole, _ = train(make_job(tmp_path / "whole", **FIELDS))
    witness = Witness()
    loop = Loop(make_job(tmp_path, **FIELDS), [witness], StopRequest())
    loop.stepper.loss = Faulty(loop.stepper.loss, [12], lambda loss: loss * by)  # type: ignore[method-assign]
    lose_sight(loop)
    loop.run()
    assert len(rollbacks(witness)) == 1
    assert_same(loop, whole)


def test_records_and_time_go_on_after_a_roll_back(tmp_path: Path) -> None:
    witness = Witness()
    loop = broken_run(tmp_path, witness, [12], spoil("parameters"), ema=0.0)
    loop.run()
    (rollback,) = witness.rollbacks
    (event,) = [event for event in witness.events if event.kind == "rolled back"]
    assert rollback.first_step == 0
    assert rollback.elapsed_s >= max(record.elapsed_s for record in witness.epochs[:2]) > 0
    assert event.elapsed_s >= rollback.elapsed_s
    assert [record.epoch for record in witness.epochs] == [1, 2, 1, 2, 3, 4]
    elapsed = [record.elapsed_s for record in witness.epochs]
    assert elapsed == sorted(elapsed)
    assert sum(loop.progress.seconds.values()) <= loop.elapsed_s()


def test_seconds_that_were_spent_stay_spent(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    loop = broken_run(tmp_path, Witness(), [12], spoil("parameters"))
    go_back = loop.go_back

    def watched() -> int:
        seen.append(dict(loop.progress.seconds))
        step = go_back()
        seen.append(dict(loop.progress.seconds))
        return step

    loop.go_back = watched  # type: ignore[method-assign]
    loop.run()
    assert seen[0] == seen[1]
    assert seen[0]["train"] > 0


# A fault that stays


@pytest.mark.parametrize("sees", [True, False], ids=["cpu", "gpu"])
@pytest.mark.parametrize("part", PARTS)
def test_fault_that_stays_ends_the_run_after_two_more_attempts(
    part: str, sees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "WINDOW_S", 1000)  # one checkpoint, after the first step
    witness = Witness()
    loop = broken_run(tmp_path, witness, Calls(8), spoil(part), checkpoint_every_s=0, lr=0.01)
    if not sees:
        lose_sight(loop)
    with pytest.raises(DivergedError, match=r"Training diverged at step \d+") as raised:
        loop.run()
    assert raised.value.exit_code == 1
    first, second = rollbacks(witness)
    assert first.endswith("as before")
    assert second.endswith("with half the learning rate, lr=0.005")
    assert len(rollbacks(witness)) == ATTEMPTS
    assert_checkpoints_are_finite(tmp_path)


def test_trouble_at_ever_new_places_ends_the_run_at_last(tmp_path: Path) -> None:
    witness = Witness()
    loop = Loop(make_job(tmp_path, epochs=20), [witness], StopRequest())
    take = loop.stepper.take

    def broken(progress: Any, *args: Any) -> Any:
        if progress.step % 5 == 2 and f"step-{progress.step:09d}" not in str(
            sorted(loop.job.checkpoints.glob("*"))
        ):
            loop.save()
            done = take(progress, *args)
            spoil("parameters")(loop)
            return done
        return take(progress, *args)

    loop.stepper.take = broken  # type: ignore[method-assign]
    with pytest.raises(DivergedError):
        loop.run()
    assert len(rollbacks(witness)) == MOST
    assert loop.recipe.lr == loop.job.recipe.lr  # each place was passed at the first attempt


# A checkpoint that is wrong itself


def save_before(loop: Loop, *steps: int) -> None:
    """Save, once each, when so many steps are done."""
    take, due = loop.stepper.take, set(steps)

    def saving(progress: Any, *args: Any) -> Any:
        if progress.step in due:
            due.remove(progress.step)
            loop.save()
        return take(progress, *args)

    loop.stepper.take = saving  # type: ignore[method-assign]


def enlarge_weights(loop: Loop) -> None:
    loop.stepper.parameters.values.mul_(1e3)


def saved_steps(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "checkpoints").glob("*.safetensors"))


@pytest.mark.parametrize("sees", [True, False], ids=["cpu", "gpu"])
def test_weights_that_were_saved_wrong_and_finite_are_left_for_those_saved_before(
    sees: bool, tmp_path: Path
) -> None:
    fields = {"ema": 0.9, "dropout": 0.1}
    whole, _ = train(make_job(tmp_path / "whole", **fields))
    witness = Witness()
    loop = Loop(make_job(tmp_path, **fields), [witness], StopRequest())
    break_steps(loop, [8], enlarge_weights)
    save_before(loop, 4, 8)
    if not sees:
        lose_sight(loop)
    assert loop.run().status == "finished"
    first, second = rollbacks(witness)
    assert first.endswith("Going on from step 8, as before")
    assert second.endswith(
        "It came again from the checkpoint of step 8, which is given up. "
        "Going on from step 4, as before"
    )
    assert_same(loop, whole)
    assert saved_steps(tmp_path) == ["step-000000004"]


def test_fault_that_stays_is_met_from_both_checkpoints_and_then_ends_the_run(
    tmp_path: Path,
) -> None:
    witness = Witness()
    loop = broken_run(tmp_path, witness, Calls(12), spoil("parameters"), lr=0.01)
    save_before(loop, 4, 8)
    with pytest.raises(DivergedError):
        loop.run()
    assert [message.partition("Going on from ")[2] for message in rollbacks(witness)] == [
        "step 8, as before",
        "step 4, as before",
        "step 4, with half the learning rate, lr=0.005",
    ]


def test_process_after_one_that_gave_a_checkpoint_up_goes_on_from_the_one_before(
    tmp_path: Path,
) -> None:
    stop = StopAt(8)
    stop.loop = loop = Loop(make_job(tmp_path), [], stop)
    save_before(loop, 4)
    with pytest.raises(StoppedError):
        loop.run()
    drop_from(tmp_path / "checkpoints", 8)
    kept = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert kept
    assert kept.state["step"] == 4
    assert load_before(tmp_path / "checkpoints", 4) is None


# Spikes


def test_loss_far_above_the_first_one_is_a_spike(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path), [], StopRequest())
    assert not loop.rescue.is_spike([1e9])  # nothing to compare with
    loop.progress.first_loss = 2.0
    assert loop.rescue.is_spike([2.0 * SPIKE + 0.1])
    assert not loop.rescue.is_spike([2.0 * SPIKE - 0.1])
    assert not loop.rescue.is_spike([])
    loop.progress.heeds_spikes = False
    assert not loop.rescue.is_spike([1e9])


def test_no_run_that_was_seen_to_end_well_came_near_a_spike() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "healthy_losses.json"
    seen = json.loads(path.read_text(encoding="utf-8"))
    assert 1 < 10 * seen["highest"] <= SPIKE


def high_loss(loop: Loop) -> None:
    """From some step on, whenever it is come to; Adam does not mind."""
    loop.stepper.loss = Faulty(  # type: ignore[method-assign]
        loop.stepper.loss, Calls(1), lambda loss: loss * (1000 if loop.progress.step >= 8 else 1)
    )


def high_gradient(loop: Loop) -> None:
    def hook(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (1e5 if loop.progress.step >= 27 else 1)

    next(loop.job.module.parameters()).register_hook(hook)


@pytest.mark.parametrize("alarm", [high_loss, high_gradient])
def test_run_does_not_die_of_an_alarm_alone(alarm: Break, tmp_path: Path) -> None:
    """What comes again with half the learning rate, and is finite, may be how it has to be."""
    witness = Witness()
    loop = Loop(make_job(tmp_path, optimizer="adam", epochs=8), [witness], StopRequest())
    alarm(loop)
    assert loop.run().status == "finished"
    first, second, third = rollbacks(witness)
    assert first.endswith("as before")
    assert second.endswith(f"lr={loop.job.recipe.lr / 2:.3g}")
    assert third.endswith("past it this time: it comes again, and all numbers are finite")
    assert loop.recipe.lr == loop.job.recipe.lr / 2
    assert not loop.progress.heeds_spikes


def test_run_that_went_past_its_spikes_still_ends_when_numbers_break(tmp_path: Path) -> None:
    witness = Witness()
    loop = Loop(make_job(tmp_path, optimizer="adam", epochs=8), [witness], StopRequest())
    high_loss(loop)
    break_steps(loop, Calls(60), spoil("parameters"))
    with pytest.raises(DivergedError, match=r"loss is nan|a weight is no longer"):
        loop.run()


# In a run folder


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    remember_machine()
    return {**SMALL, "device": "cpu", "precision": "fp32", "checkpoint_every_s": 0, "lr": 0.01}


def break_every_run(monkeypatch: pytest.MonkeyPatch, at: Container[int], stop_at: int = -1) -> None:
    """Break the weights right after some of the steps, and stop the process at another."""
    take, calls = Stepper.take, iter(range(1, 10**6))

    def broken(stepper: Stepper, *args: Any) -> Any:
        number = next(calls)
        done = take(stepper, *args)
        if number in at:
            stepper.parameters.values[5] = math.nan
        if number == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return done

    monkeypatch.setattr(Stepper, "take", broken)


def assert_records_are_of_one_run(folder: Path) -> None:
    steps, epochs, eta = (records(folder, name) for name in ("steps", "epochs", "eta"))
    numbers = [record["step"] for record in steps]
    assert numbers == sorted(set(numbers))
    assert [record["epoch"] for record in epochs] == list(range(1, len(epochs) + 1))
    for kept in (steps, epochs, eta):
        elapsed = [record["elapsed_s"] for record in kept]
        assert elapsed == sorted(elapsed)


def test_run_folder_tells_of_a_roll_back_and_of_each_step_once(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_every_run(monkeypatch, [11])
    result = traintime.train(**job)
    assert (result.status, result.steps) == ("finished", 20)
    assert_records_are_of_one_run(result.folder)
    assert records(result.folder, "steps")[-1]["step"] == 20
    kinds = [event["kind"] for event in records(result.folder, "events")]
    assert kinds == ["not finite"] * 3 + ["rolled back"]
    (change,) = records(result.folder, "changes")
    assert (change["verb"], change["changes"]) == (ROLL_BACK, {})
    assert sum(result.seconds.values()) <= result.total_s


def test_learning_rate_that_was_halved_holds_after_a_resume_too(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each of the first two attempts ends after a broken step and 4 refused ones.
    break_every_run(monkeypatch, [1, 6], stop_at=16)
    with pytest.raises(StoppedError):
        traintime.train(**{**job, "schedule": "constant", "warmup": 0.0, "optimizer": "sgd"})
    folder = find_run("latest").path
    halved = records(folder, "changes")[-1]["changes"]
    assert halved == {"lr": [0.01, 0.005]}
    monkeypatch.undo()
    monkeypatch.setenv("TRAINTIME_HOME", str(folder.parent.parent))
    result = traintime.resume("latest")
    rates = {record["lr"] for record in records(result.folder, "steps")}
    assert rates == {0.005}
    assert_records_are_of_one_run(result.folder)


def test_run_that_diverges_for_good_says_so_and_leaves_finite_checkpoints(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_every_run(monkeypatch, Calls(9))
    with pytest.raises(DivergedError, match="Try a smaller learning rate") as raised:
        traintime.train(**job)
    assert raised.value.exit_code == 1
    assert traintime.list_runs()[0].status == "diverged"
    assert_checkpoints_are_finite(find_run("latest").path)


def test_a_broken_run_that_is_stopped_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    stop = StopAt(9)
    stop.loop = loop = Loop(make_job(tmp_path, checkpoint_every_s=0), [], stop)
    step = loop._step

    def broken(position: int) -> object:
        loss = step(position)
        if loop.progress.step >= 8:
            loop.stepper.parameters.values[0] = float("nan")
        return loss

    loop._step = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(StoppedError, match="at step 9; the last good checkpoint is kept") as caught:
        loop.run()
    assert caught.value.exit_code == 143
    checkpoint = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert checkpoint is not None
    assert checkpoint.state["step"] <= 8
