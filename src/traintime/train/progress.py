"""How far a run is: everything that changes while it goes and is no tensor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from traintime.errors import RunFolderError
from traintime.recipe import Recipe
from traintime.train.records import Validation


@dataclass
class Progress:
    """The state of the training loop; a checkpoint holds all of it.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epochs done.
        position: Steps taken in the current epoch.
        elapsed_s: Seconds since the run began, all processes together.
        seconds: Of these, by what they were spent on.
        loss_sum: Sum of this epoch's training losses.
        best: Best value so far of the metric that early stopping watches.
        stale_epochs: Epochs since it was reached.
        time_to_target_s: When the target was reached.
        schedule_share: How much of the schedule is done, where it follows the time.
        micro_batches: That a batch is split into because it did not fit into memory; 0 if it did.
        update_parts: That the optimizer's step is taken in.
        validation_batch: Samples that are judged at once; 0 for the usual number.
        refused: Steps that were not taken because their loss or gradient was impossible.
        refused_in_epoch: Of these, in the current epoch.
        largest_norm: Of the gradients so far.
        first_loss: Of the first step.
        heeds_spikes: Whether numbers that are finite, but far beyond all before, send a run back.
        status: Why training ended, or "running".
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    elapsed_s: float = 0.0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"train": 0.0, "validate": 0.0, "checkpoint": 0.0}
    )
    loss_sum: float = 0.0
    best: float | None = None
    stale_epochs: int = 0
    time_to_target_s: float | None = None
    schedule_share: float = 0.0
    micro_batches: int = 0
    update_parts: int = 1
    validation_batch: int = 0
    refused: int = 0
    refused_in_epoch: int = 0
    largest_norm: float = 0.0
    first_loss: float | None = None
    heeds_spikes: bool = True
    status: str = "running"

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` understands."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        """Return the progress that `to_json` described.

        Raises:
            RunFolderError: It has parts that only a later version knows.
        """
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise RunFolderError(
                "The checkpoint is of a later version of traintime: this one does not know its "
                f"{', '.join(sorted(unknown))}. Bring it up to date: pip install -U traintime"
            )
        return cls(**values)

    def improves(self, recipe: Recipe, validation: Validation) -> bool:
        """Note an epoch's validation for early stopping; say whether it is the best so far."""
        value = validation.accuracy if recipe.monitor == "accuracy" else -validation.loss
        if self.best is None or value > self.best + recipe.min_delta:
            self.best, self.stale_epochs = value, 0
            return True
        self.stale_epochs += 1
        return False

    def decide_end(self, recipe: Recipe, validation: Validation, *, is_over: bool) -> None:
        """Set the status if this validation was the last one.

        Args:
            recipe: Gives target and early stopping.
            validation: What was just measured.
            is_over: Whether epochs or time are at their end.
        """
        value = validation.accuracy
        goal = recipe.goal
        if goal and goal.metric == "loss":
            value = validation.loss
        margin = recipe.margin(validation.deviation(goal.metric)) if goal else 0.0
        if goal and goal.beyond(margin).is_reached_by(value):
            self.time_to_target_s = self.elapsed_s
            self.status = "target reached"
        elif recipe.patience and self.stale_epochs >= recipe.patience:
            self.status = "stopped early"
        elif is_over:
            self.status = "finished"
