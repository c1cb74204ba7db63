"""A few steps of a job right before it is trained: no rate measured before tells as much."""

from __future__ import annotations

from functools import partial
from itertools import cycle

import torch
from torch import nn

from traintime.data.shuffled import ShuffledBatches
from traintime.hardware.execution import Execution
from traintime.hardware.timer import Timing, time_calls
from traintime.recipe import Recipe
from traintime.train.progress import Progress
from traintime.train.stepper import Stepper

STILL_LR = 1e-12
"""A learning rate with which weights stay as they are, and a step computes all that it does."""


def time_steps(
    module: nn.Module,
    batches: ShuffledBatches,
    recipe: Recipe,
    execution: Execution,
    budget_s: float,
    most_steps: int,
) -> Timing:
    """Take a few steps, and say how long they took; nothing of them is kept.

    Args:
        module: The network on its device, not the one that will be trained.
        batches: At least one whole batch; the last one, which may be smaller, is left out.
        recipe: What a step is made of.
        execution: How it is computed.
        budget_s: Seconds to spend, beside the least that says anything.
        most_steps: That count.
    """
    stepper = Stepper(module, batches, recipe, execution, lambda _kind, _line: None)
    module.train()
    progress = Progress()
    positions = cycle(range(max(1, batches.steps_per_epoch - 1)))
    is_cuda = execution.device.startswith("cuda")
    return time_calls(
        lambda: stepper.take(progress, next(positions), STILL_LR),
        synchronize=partial(torch.cuda.synchronize, execution.device) if is_cuda else lambda: None,
        budget_s=budget_s,
        most_calls=most_steps,
    )
