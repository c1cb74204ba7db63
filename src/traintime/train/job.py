"""What a run is made of, decided and built before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from traintime.data.shuffled import ShuffledBatches
from traintime.hardware.execution import Execution
from traintime.ledger.commands import Commands
from traintime.recipe import Recipe
from traintime.train.pace import Deadline
from traintime.train.records import Validation


@dataclass(frozen=True)
class Job:
    """All that the loop needs, decided and built.

    Args:
        recipe: What was asked for.
        execution: How it is computed.
        module: The network on its device, freshly drawn.
        batches: The training part.
        train_samples: How many samples it has.
        validate: Measures a model on the validation part, so many samples at once.
        validation_batch: So many as long as they fit into memory.
        checkpoints: Folder for checkpoints.
        began_at: `perf_counter()` when this process began on the run, so that preparing counts.
        resume_command: What to type to go on with this run.
        draw_again: Draws the network anew as it was at first, random states included.
        deadline: When the result has to be there; None for a run of so many epochs.
        commands: Given to the run while it goes; None if nobody can.
        refuse_if_lost: Raises where the run has become another process's.
    """

    recipe: Recipe
    execution: Execution
    module: nn.Module
    batches: ShuffledBatches
    train_samples: int
    validate: Callable[[nn.Module, int], Validation]
    validation_batch: int
    checkpoints: Path
    began_at: float
    resume_command: str
    draw_again: Callable[[], nn.Module]
    deadline: Deadline | None = None
    commands: Commands | None = None
    refuse_if_lost: Callable[[], None] = lambda: None
