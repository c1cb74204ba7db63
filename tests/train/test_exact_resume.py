import random
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from traintime.errors import RunFolderError, StoppedError
from traintime.train import loop as loop_module
from traintime.train.checkpoints import Checkpoint, load_latest
from traintime.train.loop import Loop
from traintime.train.progress import Progress
from traintime.train.signals import StopRequest

from .jobs import (
    STEPS,
    STEPS_PER_EPOCH,
    StopAt,
    Witness,
    make_job,
    restore,
    state_of,
    train,
    train_with_stops,
)
from .stored_jobs import IN_MEMORY, stored_job

AUGMENTED = {"flip": True, "crop": 1, "cutout": 2}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "augmentation": AUGMENTED,
    "ema": {"ema": 0.9},
    "batch norm": {"batch_norm": True},
    "early stopping": {"patience": 2, "min_delta": 0.02, "batch_norm": True},
    "stops early": {"patience": 1, "min_delta": 1.0, "monitor": "loss", "lr": 1e-5},
    "accumulation": {"accumulate": 3, "dropout": 0.2},
    "sgd": {"optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-3, "grad_clip": 1.0},
    "adam": {"optimizer": "adam", "beta2": 0.95},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01, "label_smoothing": 0.1},
    "muon": {"optimizer": "muon", "muon_iterations": 2, "weight_decay": 0.01},
    "constant rate": {"schedule": "constant", "warmup": 0.0},
    "rate in steps": {"schedule": "step", "decay_every": 1, "decay_factor": 0.5},
    "cosine": {"schedule": "cosine", "warmup": 0.4},
    "one cycle": {"schedule": "one_cycle", "warmup": 0.5},
    "bf16": {"precision": "bf16", "dropout": 0.2},
    "contiguous": {"memory_format": "contiguous", "l1": 1e-4, "l2": 1e-4},
    "mlp": {"model": "mlp", "hidden": (16, 16), "schedule": "cosine"},
    "everything": {
        **AUGMENTED,
        "dropout": 0.2,
        "ema": 0.8,
        "patience": 3,
        "batch_norm": True,
        "accumulate": 2,
        "target": "accuracy:1",
    },
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "model": [{}, {"model": "mlp", "hidden": (16, 16)}],
    "augmentation": [{}, AUGMENTED, {"flip": True}, {"cutout": 2}],
    "dropout": [{}, {"dropout": 0.3}],
    "batch norm": [{}, {"batch_norm": True}],
    "accumulation": [{}, {"accumulate": 2}, {"accumulate": 3}],
    "average": [{}, {"ema": 0.9}],
    "early stopping": [{}, {"patience": 1}, {"patience": 3, "monitor": "loss"}],
    "optimizer": [
        {"optimizer": "sgd", "lr": 0.05},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.01},
        {"optimizer": "muon", "weight_decay": 0.01},
    ],
    "schedule": [{"schedule": name} for name in ("constant", "step", "cosine", "one_cycle")],
    "warm-up": [{}, {"warmup": 0.0}, {"warmup": 0.5}],
    "precision": [{}, {"precision": "bf16"}],
    "layout": [{}, {"memory_format": "contiguous"}],
    "penalties": [{}, {"l1": 1e-4, "l2": 1e-4}, {"grad_clip": 0.5}],
    "labels": [{}, {"label_smoothing": 0.1}],
    "seed": [{}, {"seed": 7}],
}
"""What a recipe can be put together from, at random."""
GPU_TOLERANCE = 1e-3
"""Some of a GPU's kernels add in an order that changes from run to run."""
TIMES = {"elapsed_s", "seconds", "time_to_target_s"}


def assert_same_end(resumed: Loop, whole: Loop) -> None:
    ours, theirs = state_of(resumed), state_of(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    for field in (field.name for field in fields(Progress)):
        if field not in TIMES:
            assert getattr(resumed.progress, field) == getattr(whole.progress, field), field


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_run_ends_bit_for_bit_like_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    whole, _ = train(make_job(tmp_path / "whole", **recipe))
    resumed = train_with_stops(tmp_path / "resumed", [3, 9], **recipe)
    assert_same_end(resumed, whole)


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_on_a_gpu_a_stopped_run_ends_like_an_uninterrupted_one_up_to_rounding(
    name: str, tmp_path: Path
) -> None:
    recipe = {**RECIPES[name], "device": "cuda"}
    whole, _ = train(make_job(tmp_path / "whole", **recipe))
    resumed = train_with_stops(tmp_path / "resumed", [3, 9], **recipe)
    assert resumed.progress.step == whole.progress.step
    ours, theirs = state_of(resumed), state_of(whole)
    for part in ("parameters", "average"):
        if part in theirs:
            assert torch.allclose(ours[part], theirs[part], rtol=GPU_TOLERANCE, atol=GPU_TOLERANCE)


def stop_in_validation(folder: Path, validation: int, recipe: dict[str, Any]) -> None:
    """Go on with a run until a signal comes after the first samples of a validation."""
    stop = StopRequest()
    job = replace(make_job(folder, **recipe), validation_batch=10)
    loop = Loop(job, [], stop)
    restore(loop)
    batches = [0]

    def count(module: nn.Module, _: object) -> None:
        batches[0] += not module.training
        if not module.training and loop.progress.epoch == validation and batches[0] > 1:
            stop.receive(signal.SIGTERM, None)

    job.module.register_forward_pre_hook(count)
    with pytest.raises(StoppedError, match="and saved at step"):
        loop.run()
    assert (loop.progress.epoch, loop.progress.position) == (validation, STEPS_PER_EPOCH)
    torch.manual_seed(validation)  # whatever another process would have drawn


@pytest.mark.parametrize("name", ["plain", "ema", "batch norm", "bf16", "everything"])
def test_validation_that_was_left_in_its_midst_is_made_anew(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    whole, _ = train(make_job(tmp_path / "whole", **recipe))
    for validation in (0, 2):
        stop_in_validation(tmp_path / "resumed", validation, recipe)
    assert_same_end(train_with_stops(tmp_path / "resumed", [], **recipe), whole)


def train_stored(folder: Path, stops: list[int], workers: list[int | None], recipe: Any) -> Loop:
    """Train in one process after the other, each with its own number of workers."""
    for step, number in zip([*stops, None], workers, strict=True):
        stop = StopRequest() if step is None else StopAt(step)
        with stored_job(folder, number, **recipe) as job:
            loop = Loop(job, [], stop)
            restore(loop)
            if step is None:
                loop.run()
                return loop
            stop.loop = loop
            with pytest.raises(StoppedError, match=f"saved at step {step}"):
                loop.run()
            torch.manual_seed(step)  # whatever another process would have drawn
    raise AssertionError


@pytest.mark.parametrize("name", RECIPES)
def test_images_that_are_gathered_from_the_disk_train_like_those_in_memory(
    name: str, tmp_path: Path
) -> None:
    recipe = RECIPES[name]
    whole = train_stored(tmp_path / "whole", [], [IN_MEMORY], recipe)
    assert_same_end(train_stored(tmp_path / "resumed", [3, 9], [0, 0, 0], recipe), whole)


@pytest.mark.parametrize("workers", [[2, 2, 2], [2, 0, 1], [IN_MEMORY, 2, 0]], ids=str)
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_workers_change_no_bit_wherever_a_run_is_stopped(
    name: str, workers: list[int | None], tmp_path: Path
) -> None:
    whole = train_stored(tmp_path / "whole", [], [IN_MEMORY], RECIPES[name])
    assert_same_end(train_stored(tmp_path / "resumed", [4, 11], workers, RECIPES[name]), whole)


def random_recipe(chance: random.Random) -> dict[str, Any]:
    chosen = [chance.choice(options) for options in OPTIONS.values()]
    return {name: value for fields in chosen for name, value in fields.items()}


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=() if seed < 12 else pytest.mark.slow) for seed in range(112)],
)
def test_any_recipe_stopped_anywhere_ends_like_an_uninterrupted_one(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    recipe = random_recipe(chance)
    whole, outcome = train(make_job(tmp_path / "whole", **recipe))
    if chance.random() < 0.5:
        stop_in_validation(tmp_path / "resumed", 0, recipe)
        first = STEPS_PER_EPOCH + 1
    else:
        first = 1
    later = range(first, outcome.steps)
    stops = sorted(chance.sample(later, min(len(later), chance.randint(0, 4))))
    assert_same_end(train_with_stops(tmp_path / "resumed", stops, **recipe), whole)


@pytest.mark.parametrize("name", ["plain", "everything"])
@pytest.mark.parametrize(
    "stops",
    [
        [1],
        [STEPS_PER_EPOCH],
        [STEPS_PER_EPOCH + 1],
        [2 * STEPS_PER_EPOCH - 1],
        [STEPS],
        [4, 5, 6, 11, 20],
    ],
    ids=str,
)
def test_any_step_can_be_stopped_at(name: str, stops: list[int], tmp_path: Path) -> None:
    whole, _ = train(make_job(tmp_path / "whole", **RECIPES[name]))
    assert_same_end(train_with_stops(tmp_path / "resumed", stops, **RECIPES[name]), whole)


def test_the_recipes_do_what_they_are_here_for(tmp_path: Path) -> None:
    _, early = train(make_job(tmp_path, **RECIPES["stops early"]))
    assert (early.status, early.epochs) == ("stopped early", 2)
    _, whole = train(make_job(tmp_path, **RECIPES["plain"]))
    assert (whole.status, whole.steps) == ("finished", STEPS)


def stopped_at(step: int, folder: Path) -> Checkpoint:
    """Return the checkpoint of a run that was stopped after a step."""
    stop = StopAt(step)
    stop.loop = loop = Loop(make_job(folder), [], stop)
    with pytest.raises(StoppedError):
        loop.run()
    checkpoint = load_latest(folder / "checkpoints", pytest.fail)
    assert checkpoint is not None
    return checkpoint


def test_zero_seconds_between_checkpoints_saves_at_every_window(tmp_path: Path) -> None:
    witness = Witness()
    train(make_job(tmp_path, checkpoint_every_s=0), witness)
    inside = {record.step for record in witness.steps if record.step % STEPS_PER_EPOCH}
    assert 1 in inside  # the first step of a process is a window of its own
    assert inside <= set(witness.saved)


def test_stopping_says_how_to_go_on_and_has_the_exit_code_of_the_signal(tmp_path: Path) -> None:
    stop = StopAt(3)
    stop.loop = loop = Loop(make_job(tmp_path), [], stop)
    with pytest.raises(
        StoppedError, match=r"saved at step 3\..*type: traintime runs resume"
    ) as raised:
        loop.run()
    assert raised.value.exit_code == 143


def test_checkpoint_of_an_epochs_last_step_is_validated_after_resuming(tmp_path: Path) -> None:
    checkpoint, witness = stopped_at(STEPS_PER_EPOCH, tmp_path), Witness()
    loop = Loop(make_job(tmp_path), [witness], StopRequest())
    loop.restore(checkpoint)
    loop.run()
    assert (witness.starts[0].first_step, witness.starts[0].first_epoch) == (STEPS_PER_EPOCH, 0)
    assert [record.epoch for record in witness.epochs] == [1, 2, 3, 4]


def test_time_between_processes_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = stopped_at(7, tmp_path)
    # A week passes, and the clock of the next process starts anywhere.
    monkeypatch.setattr(loop_module, "perf_counter", lambda: 1e6)
    loop = Loop(replace(make_job(tmp_path), began_at=1e6 - 2.5), [], StopRequest())
    loop.restore(checkpoint)
    assert loop.elapsed_s() == pytest.approx(checkpoint.state["elapsed_s"] + 2.5)
    assert loop.start().resumed_at_s == checkpoint.state["elapsed_s"]


@pytest.mark.parametrize("changed", [{"ema": 0.9}, {"model": "mlp"}], ids=str)
def test_checkpoint_of_another_recipe_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = stopped_at(2, tmp_path)
    with pytest.raises(RunFolderError, match=r"traintime train '.*recipe\.yaml'"):
        Loop(make_job(tmp_path, **changed), [], StopRequest()).restore(checkpoint)
