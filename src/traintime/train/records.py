"""What a run tells about itself while it goes, and who listens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from traintime.recipe.recipe import Metric, Recipe

ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Start:
    """The run begins or goes on.

    Args:
        steps_per_epoch: Optimizer steps in one epoch.
        total_steps: Steps of the whole run if nothing ends it early.
        first_step: Steps already taken; 0 unless resumed.
        elapsed_s: Seconds since the run began, all processes together.
        first_epoch: Epochs already done; 0 unless resumed.
        resumed_at_s: What `elapsed_s` was when the checkpoint was made that is resumed from.
    """

    steps_per_epoch: int
    total_steps: int
    first_step: int
    elapsed_s: float
    first_epoch: int = 0
    resumed_at_s: float = 0.0


@dataclass(frozen=True)
class StepRecord:
    """A few steps, seen together.

    Args:
        step: Steps taken so far.
        epoch: Epochs done so far, with the fraction of the current one.
        loss: Mean training loss over these steps.
        lr: Learning rate of the last of them.
        samples_per_s: Over these steps.
        elapsed_s: Seconds since the run began, all processes together.
        step_time_s: Mean over these steps.
        data_time_s: Of it, spent on getting the batch; on a GPU, what this process spent on it.
    """

    step: int
    epoch: float
    loss: float
    lr: float
    samples_per_s: float
    elapsed_s: float
    step_time_s: float
    data_time_s: float = 0.0


@dataclass(frozen=True)
class EpochRecord:
    """The end of an epoch, after its validation.

    Args:
        epoch: Epochs done; the last one may be a part.
        step: Steps taken.
        train_loss: Mean over the epoch.
        validation_loss: Mean.
        validation_accuracy: Share that is right.
        samples_per_s: In training, mean since the beginning.
        elapsed_s: Seconds since the run began.
        margin: By how much a value has to be better than the target, for the confidence asked for.
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    samples_per_s: float
    elapsed_s: float
    margin: float = 0.0


@dataclass(frozen=True)
class Change:
    """A command that was given to the run while it went, and what it did.

    Args:
        id: Of the command.
        verb: "set", "extend", "pause", "continue", "save" or "stop"; "roll back" is the run's own
            and undoes those that were taken up after its step.
        step: Optimizer steps taken when it was taken up.
        epoch: Epochs done then.
        elapsed_s: Seconds since the run began.
        at: ISO time with its zone.
        by: Who gave it.
        changes: Fields that it changed: name to old and new value. Resumed from before its step,
            the run takes them up again there.
        refused: Why it was not taken up; empty if it was.
    """

    id: str
    verb: str
    step: int
    epoch: int
    elapsed_s: float
    at: str
    by: str
    changes: Mapping[str, tuple[Any, Any]]
    refused: str = ""


def still_valid(changes: Iterable[Change]) -> list[Change]:
    """Return the changes of a run that no roll-back has undone, in their order."""
    valid: list[Change] = []
    for change in changes:
        if change.verb == ROLL_BACK:
            at = (change.step, change.epoch)
            valid = [earlier for earlier in valid if (earlier.step, earlier.epoch) <= at]
        valid.append(change)
    return valid


@dataclass(frozen=True)
class Event:
    """A fault that the run survived, or something else worth knowing afterwards.

    Args:
        kind: "out of memory", "not finite", "rolled back", "checkpoint failed" and the like.
        message: A sentence that says what happened and what was done.
        step: Optimizer steps taken.
        elapsed_s: Seconds since the run began.
        at: ISO time with its zone.
    """

    kind: str
    message: str
    step: int
    elapsed_s: float
    at: str


class Observer:
    """Someone who listens to a run; every hook does nothing unless it is overridden.

    Users know it as `traintime.Callback`. The run waits for every hook.
    """

    def on_start(self, start: Start) -> None:
        """Called once, before the first step of this process."""

    def on_steps(self, record: StepRecord) -> None:
        """Called about five times a second while training."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Called after each epoch's validation."""

    def on_checkpoint(self, step: int) -> None:
        """Called after a checkpoint is safely on disk."""

    def on_recipe(self, recipe: Recipe) -> None:
        """Called when another recipe holds: one was changed, or a change is taken up again."""

    def on_change(self, change: Change, recipe: Recipe) -> None:
        """Called after a command to the running process was taken up, with what holds from now."""

    def on_event(self, event: Event) -> None:
        """Called when a fault was survived."""

    def on_rollback(self, start: Start) -> None:
        """Called when the run goes on from an earlier point: what came after it is undone."""

    def stop_reason(self) -> str:
        """Asked after each epoch: why training should end now, or nothing if it should not."""
        return ""

    def on_end(self, status: str) -> None:
        """Called once when training is over, before the test; not when a signal stopped it."""


@dataclass(frozen=True)
class Validation:
    """How good a model is on held-out samples.

    Args:
        loss: Mean.
        accuracy: The share it gets right.
        samples: How many there are; 0 if nothing is to be said of chance.
        loss_deviation: Standard deviation of the loss of one.
    """

    loss: float
    accuracy: float
    samples: int = 0
    loss_deviation: float = 0.0

    def deviation(self, metric: Metric) -> float:
        """Return the standard deviation that a metric has because the samples are drawn.

        That of a share is a binomial's, with half a hit and half a miss added (Agresti and Coull
        1998 add more), so that a share of 1 is not taken for certain.
        """
        if not self.samples:
            return 0.0
        if metric == "loss":
            return self.loss_deviation / math.sqrt(self.samples)
        share = (self.accuracy * self.samples + 0.5) / (self.samples + 1)
        return math.sqrt(share * (1 - share) / (self.samples + 1))


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Args:
        status: "target reached", "finished" or "stopped early".
        steps: Optimizer steps taken.
        epochs: Epochs done.
        time_to_target_s: Seconds from the start to the validation that reached the target.
        seconds: By what they were spent on: train, validate, checkpoint.
        window_step_times_s: Mean time of a step in each window between two step records of this
            process, the first step (which warms up) left out.
        reason: Why it was stopped early; empty if it was not.
    """

    status: str
    steps: int
    epochs: int
    time_to_target_s: float | None
    seconds: dict[str, float]
    window_step_times_s: tuple[float, ...]
    reason: str = ""
