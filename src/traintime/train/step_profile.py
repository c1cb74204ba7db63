"""Where the time of a training step goes, measured on the very steps that the loop takes.

Nothing of a step is written anew here: a `Stepper` takes it, and the parts that it calls (batches,
backward, optimizer, average) say when they begin and end. What lies between two such marks belongs
to the first, so the phases sum to the step exactly.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from traintime.data.shuffled import Batch, ShuffledBatches
from traintime.errors import InputError
from traintime.hardware.contention import Contention, watch_contention
from traintime.hardware.execution import Execution
from traintime.recipe import Recipe
from traintime.train.phase_marks import (
    AVERAGE,
    BACKWARD,
    BEGIN,
    CHECKS,
    DATA,
    FORWARD,
    OPTIMIZER,
    PENALTIES,
    PHASES,
    Marker,
    Stamps,
)
from traintime.train.progress import Progress
from traintime.train.stepper import Refused, Stepper
from traintime.train.trial import STILL_LR

WARM_STEPS = 3
BUDGET_S = 5.0
LEAST_STEPS, MOST_STEPS = 10, 2000


@dataclass(frozen=True)
class ProfiledJob:
    """A job whose steps are looked at.

    Args:
        recipe: What a step is made of.
        execution: How it is computed.
        module: The network on its device.
        batches: The training part.
        train_samples: How many samples it has.
    """

    recipe: Recipe
    execution: Execution
    module: nn.Module
    batches: ShuffledBatches
    train_samples: int


@dataclass(frozen=True)
class StepTimes:
    """What the steps of a job took.

    Args:
        phases_s: Mean seconds of the typical steps by phase, in the order of the step; they sum
            to the step.
        low_s: The step that 10 % are shorter than.
        high_s: The step that 10 % are longer than.
        num_steps: How many were counted.
        contention: What else went on on the processor.
    """

    phases_s: Mapping[str, float]
    low_s: float
    high_s: float
    num_steps: int
    contention: Contention

    @property
    def step_s(self) -> float:
        """Of the whole step."""
        return sum(self.phases_s.values())


class WatchedSteps:
    """Takes steps of a job, while a marker hears of their phases.

    Args:
        job: Its weights stay what they are, up to rounding; nothing is written.
        tensors: Of a checkpoint, to begin with its state; empty leaves the module's weights.
        progress: Of that checkpoint: how small the parts of a step are.
    """

    def __init__(
        self, job: ProfiledJob, tensors: Mapping[str, Tensor], progress: Progress | None = None
    ) -> None:
        self.job = job
        self._progress = progress or Progress()
        # Not as many steps are taken that a gradient could be told from a usual one.
        self._progress.step, self._progress.largest_norm = 0, 0.0
        self._whole = max(1, job.train_samples // job.recipe.batch_size)
        self._marker: Marker = Stamps(job.execution.device)
        batches = cast("ShuffledBatches", _Announced(job.batches, self._batch))
        self._stepper = Stepper(job.module, batches, job.recipe, job.execution, _unheard)
        _restore(self._stepper, job.module, tensors)
        self._parts, self._done = 1, 0
        self._announce(self._stepper.optimizer, "step", OPTIMIZER, OPTIMIZER)
        self._announce(self._stepper.parameters.gradient, "zero_", OPTIMIZER, OPTIMIZER)
        self._announce(self._stepper.parameters.gradient, "norm", PENALTIES, PENALTIES)
        if self._stepper.average is not None:
            self._announce(self._stepper.average, "lerp_", AVERAGE, OPTIMIZER)

    def take(self, num_steps: int, marker: Marker) -> None:
        """Take so many steps on whole batches; the last mark is the end of the last of them."""
        self._marker, original = marker, torch.autograd.backward

        def backward(*args: Any, **kwargs: Any) -> None:
            marker.mark(BACKWARD)
            original(*args, **kwargs)
            self._after_backward()

        self.job.module.train()
        torch.autograd.backward = backward
        try:
            for number in range(num_steps):
                marker.mark(BEGIN)
                taken = self._stepper.take(self._progress, number % self._whole, STILL_LR)
                if isinstance(taken, Refused):
                    raise InputError(
                        f"A step with the weights of this run cannot be taken: {taken.why}. "
                        "Profile a run that learns"
                    )
            marker.mark(BEGIN)
        finally:
            torch.autograd.backward = original

    def _batch(self, i: int) -> Batch:
        self._marker.mark(DATA)
        batch = self.job.batches.batch(i)
        self._marker.mark(FORWARD)
        count = max(self._progress.micro_batches, self.job.recipe.accumulate)
        self._parts, self._done = min(count, len(batch[1])), 0
        return batch

    def _after_backward(self) -> None:
        self._done += 1
        penalised = self.job.recipe.l1 or self.job.recipe.l2
        rest = PENALTIES if penalised else CHECKS
        self._marker.mark(FORWARD if self._done < self._parts else rest)

    def _announce(self, owner: object, method: str, phase: str, after: str) -> None:
        """Let an object's method say when it begins and when it ends."""
        original: Callable[..., Any] = getattr(owner, method)

        def announced(*args: Any, **kwargs: Any) -> Any:
            self._marker.mark(phase)
            result = original(*args, **kwargs)
            self._marker.mark(after)
            return result

        setattr(owner, method, announced)


def measure_steps(steps: WatchedSteps, num_steps: int | None = None) -> StepTimes:
    """Say where the time of a job's steps goes.

    Args:
        steps: Where they come from.
        num_steps: To count; None takes as many as fit into a few seconds.
    """
    device = steps.job.execution.device
    steps.take(WARM_STEPS, Stamps(device))
    if num_steps is None:
        tried = Stamps(device)
        steps.take(WARM_STEPS, tried)
        step_s = min(sum(phases.values()) for phases in tried.steps())
        num_steps = min(MOST_STEPS, max(LEAST_STEPS, int(BUDGET_S / step_s)))
    stamps = Stamps(device)
    with watch_contention() as watch:
        steps.take(num_steps, stamps)
        taken = stamps.steps()
    return _summary(taken, watch.seen)


def seconds_with_threads(steps: WatchedSteps, threads: int, like_s: float) -> float:
    """Return the seconds of a typical step if torch computes with so many threads.

    Args:
        steps: Where they come from, on a CPU.
        threads: To use for these steps alone.
        like_s: About what a step takes; decides how many are taken.
    """
    before, stamps = torch.get_num_threads(), Stamps("cpu")
    torch.set_num_threads(threads)
    try:
        steps.take(WARM_STEPS, Stamps("cpu"))
        steps.take(min(200, max(3, int(1.0 / like_s))), stamps)
    finally:
        torch.set_num_threads(before)
    return sum(_typical(stamps.steps()).values())


def _summary(steps: Sequence[Mapping[str, float]], contention: Contention) -> StepTimes:
    totals, last = sorted(sum(phases.values()) for phases in steps), len(steps) - 1
    return StepTimes(
        phases_s=_typical(steps),
        low_s=totals[round(0.1 * last)],
        high_s=totals[round(0.9 * last)],
        num_steps=len(steps),
        contention=contention,
    )


def _typical(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the half of the steps in the middle, which what disturbs a few cannot touch."""
    ordered = sorted(steps, key=lambda phases: sum(phases.values()))
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    means = {p: statistics.fmean(step.get(p, 0.0) for step in middle) for p in PHASES}
    return {phase: mean for phase, mean in means.items() if mean > 0}


def _restore(stepper: Stepper, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a checkpoint's values where a step finds them; what does not fit stays as it is."""
    places = {"parameters": stepper.parameters.values}
    places |= {f"optimizer.{name}": slot for name, slot in stepper.optimizer.state.items()}
    places |= {f"buffer.{name}": buffer for name, buffer in module.named_buffers()}
    if stepper.average is not None:
        places["average"] = stepper.average
    for name, place in places.items():
        if name in tensors and tensors[name].shape == place.shape:
            place.copy_(tensors[name])


def _unheard(_kind: str, _message: str) -> None:
    """Nobody listens: what a step survives while it is profiled is no event of the run."""


class _Announced:
    """Batches that are got by another function; all else of them is as it was."""

    def __init__(self, batches: ShuffledBatches, batch: Callable[[int], Batch]) -> None:
        self._batches, self.batch = batches, batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)
