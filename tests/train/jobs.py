"""Small jobs for the training loop, without the rest of the product."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from traintime.architecture import network_for
from traintime.data.augment import make_augmentation
from traintime.data.catalogue import find
from traintime.data.fetch import RawImages, load_raw
from traintime.data.prepare import prepare
from traintime.data.resident import ResidentBatches, in_order
from traintime.errors import StoppedError
from traintime.evaluate.predict import predict
from traintime.hardware.execution import Execution
from traintime.models.build import build
from traintime.recipe import Recipe, read_recipe
from traintime.train.checkpoints import load_latest
from traintime.train.loop import Job, Loop
from traintime.train.records import (
    Change,
    EpochRecord,
    Event,
    Observer,
    Outcome,
    Start,
    StepRecord,
    Validation,
)
from traintime.train.signals import StopRequest

SMALL = {"data": "digits", "model": "lenet", "train_samples": 300, "batch_size": 64, "epochs": 4}
"""Five steps an epoch, the last one of 44 samples; twenty steps in all."""
STEPS_PER_EPOCH, STEPS = 5, 20
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@cache
def digits() -> RawImages:
    return load_raw("digits", lambda _: None)


def recipe_of(**fields: Any) -> Recipe:
    return read_recipe(**{**SMALL, **fields})


def make_job(
    folder: Path, validate: Callable[[nn.Module, int], Validation] | None = None, **fields: Any
) -> Job:
    """Return a job as a session builds it, with the first weights of its seed."""
    recipe = recipe_of(**fields)
    layout = "contiguous" if recipe.memory_format == "contiguous" else "channels_last"
    precision = "bf16" if recipe.precision == "bf16" else "fp32"
    device = "cuda:0" if recipe.device.startswith("cuda") else "cpu"
    execution = Execution(device, precision, layout)
    facts = find(recipe.data)
    prepared = prepare(digits(), recipe, facts)
    placed = (
        device,
        prepared.mean,
        prepared.std,
        DTYPES[precision],
        torch.channels_last if layout == "channels_last" else torch.contiguous_format,
    )

    def draw() -> nn.Module:
        torch.manual_seed(recipe.seed)
        return build(network_for(recipe, facts.shape, facts.num_classes)).to(device)

    module = draw()
    held_out = in_order(prepared.validation, 100, *placed)

    def judge(module: nn.Module, batch: int) -> Validation:
        predictions = predict(module, held_out.in_batches_of(batch), execution)
        return Validation(
            predictions.loss,
            predictions.accuracy,
            len(predictions.labels),
            predictions.loss_deviation,
        )

    return Job(
        recipe=recipe,
        execution=execution,
        module=module,
        batches=ResidentBatches(
            prepared.train, recipe.batch_size, *placed, make_augmentation(recipe), recipe.seed
        ),
        train_samples=len(prepared.train),
        validate=validate or judge,
        validation_batch=100,
        checkpoints=folder / "checkpoints",
        began_at=perf_counter(),
        resume_command="traintime runs resume x",
        draw_again=draw,
    )


def validations(*values: Validation) -> Callable[[nn.Module, int], Validation]:
    """Return a judge that says what it was told, one value an epoch."""
    left: Iterator[Validation] = iter(values)
    return lambda module, batch: next(left)


class StopAt(StopRequest):
    """A SIGTERM that comes right after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step
        self.loop: Loop | None = None

    @property
    def signal_number(self) -> int:
        reached = self.loop is not None and self.loop.progress.step >= self.step
        return signal.SIGTERM if reached else 0

    @signal_number.setter
    def signal_number(self, number: int) -> None: ...


class Witness(Observer):
    """Keeps everything that a run tells."""

    def __init__(self) -> None:
        self.starts: list[Start] = []
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.saved: list[int] = []
        self.ends: list[str] = []
        self.events: list[Event] = []
        self.changes: list[Change] = []
        self.rollbacks: list[Start] = []

    def on_start(self, start: Start) -> None:
        self.starts.append(start)

    def on_steps(self, record: StepRecord) -> None:
        self.steps.append(record)

    def on_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def on_checkpoint(self, step: int) -> None:
        self.saved.append(step)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_change(self, change: Change, recipe: Recipe) -> None:
        self.changes.append(change)

    def on_rollback(self, start: Start) -> None:
        self.rollbacks.append(start)

    def on_end(self, status: str) -> None:
        self.ends.append(status)


def train(job: Job, witness: Witness | None = None) -> tuple[Loop, Outcome]:
    loop = Loop(job, [witness or Witness()], StopRequest())
    return loop, loop.run()


def train_with_stops(folder: Path, stops: Sequence[int], **fields: Any) -> Loop:
    """Train in one process after the other, each but the last stopped after a step."""
    for step in stops:
        stop = StopAt(step)
        stop.loop = loop = Loop(make_job(folder, **fields), [], stop)
        restore(loop)
        with pytest.raises(StoppedError, match=f"saved at step {step}"):
            loop.run()
        torch.manual_seed(step)  # whatever another process would have drawn
    loop = Loop(make_job(folder, **fields), [], StopRequest())
    restore(loop)
    loop.run()
    return loop


def restore(loop: Loop) -> None:
    checkpoint = load_latest(loop.job.checkpoints, pytest.fail)
    if checkpoint:
        loop.restore(checkpoint)


def state_of(loop: Loop) -> dict[str, Tensor]:
    """Return everything that a run ends with: weights, buffers, optimizer, averages, random."""
    return dict(loop.state.checkpoint().tensors)
