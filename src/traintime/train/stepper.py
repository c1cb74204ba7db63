"""One optimizer step: the only place where parameters change.

A step that runs out of memory is taken again: forward and backward in twice as many micro-batches,
the update in twice as many parts, so the batch that is learned from stays. On a CPU, where a number
can be looked at without waiting for anybody, a step whose loss or gradient is no finite number, or
whose gradient is far beyond any before, is refused before it changes a weight. There, too, a step
that is taken again or refused leaves running statistics as they were before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traintime.data.shuffled import ShuffledBatches
from traintime.hardware.execution import Execution
from traintime.recipe import Recipe
from traintime.train.flat import FlatParameters
from traintime.train.forward_state import ForwardState
from traintime.train.optimizers import make_optimizer
from traintime.train.out_of_memory import in_smaller_parts
from traintime.train.progress import Progress

USUAL_STEPS = 20
"""Steps after which the largest gradient so far says what is usual."""
UNUSUAL = 100.0
"""Times the largest norm so far that a gradient is refused at: a flipped bit, not a lesson."""
MOST_PARTS = 64
"""Of an update; what still does not fit then is no matter of scratch memory."""


@dataclass(frozen=True)
class Refused:
    """A step that was not taken.

    Args:
        why: What was wrong with it.
        is_finite: Whether its loss and gradient were numbers at all.
    """

    why: str
    is_finite: bool = False


class Stepper:
    """Takes the steps of a run.

    Args:
        module: The network on its device.
        batches: Where a step's samples come from.
        recipe: What a step is made of.
        execution: How it is computed.
        tell: Called with kind and message when a fault was survived.

    Attributes:
        parameters: Of the module, as one vector.
        average: (P,) their average, if the recipe keeps one.
        data_s: Seconds spent on getting batches so far.
    """

    def __init__(
        self,
        module: nn.Module,
        batches: ShuffledBatches,
        recipe: Recipe,
        execution: Execution,
        tell: Callable[[str, str], None],
    ) -> None:
        self.recipe, self.batches = recipe, batches
        channels_last = execution.memory_format == "channels_last"
        self.parameters = FlatParameters(module, channels_last=channels_last)
        self.optimizer = make_optimizer(self.parameters, recipe)
        self.average = self.parameters.values.clone() if recipe.ema else None
        self.data_s = 0.0
        self._forward = torch.compile(module, dynamic=False) if execution.compile else module
        self._device_type = torch.device(execution.device).type
        self._uses_bf16 = execution.precision == "bf16"
        self._is_looked_at = self._device_type == "cpu"
        draws = bool(recipe.dropout or recipe.flip or recipe.crop or recipe.cutout)
        self._before = ForwardState(module, batches, draws=draws) if self._is_looked_at else None
        self._tell = tell

    def configure(self, recipe: Recipe) -> None:
        """Take up a recipe that has changed."""
        self.recipe = recipe
        self.optimizer.configure(recipe)

    def take(self, progress: Progress, position: int, lr: float) -> Tensor | Refused:
        """Take a step.

        Args:
            progress: Of the run; learns the largest gradient and how small the parts are.
            position: Of the batch in its epoch.
            lr: Learning rate.

        Returns:
            The batch's mean loss, or why nothing was changed.

        Raises:
            RuntimeError: It does not fit into memory in the smallest parts either.
        """
        self.optimizer.parts = progress.update_parts
        if self._before:
            self._before.remember()
        loss = in_smaller_parts(
            lambda: self._find_gradient(progress, position), lambda: self._shrink_batch(progress)
        )
        with torch.no_grad():
            norm, refused = self._looked_at(progress, loss)
            if refused is None:
                self._clip(norm)
                in_smaller_parts(
                    lambda: self.optimizer.step(lr, progress.step + 1),
                    lambda: self._shrink_update(progress),
                )
                self._follow(progress.step)
            elif self._before:
                self._before.put_back_statistics()
            self.parameters.gradient.zero_()
        return refused or loss

    # The gradient

    def _find_gradient(self, progress: Progress, position: int) -> Tensor:
        began = perf_counter()
        images, labels = self.batches.batch(position)
        self.data_s += perf_counter() - began
        count = self._count_for(len(labels), progress.micro_batches)
        loss = self._accumulate(images, labels, count)
        if self.recipe.l1 or self.recipe.l2:
            self._add_penalties()
        return loss

    def _count_for(self, samples: int, wanted: int) -> int:
        """Return the micro-batches of a batch; the last of an epoch may be too small for all."""
        count = max(wanted, self.recipe.accumulate)
        least = 2 if self.recipe.batch_norm and count > self.recipe.accumulate else 1
        return max(1, min(count, samples // least))

    def _accumulate(self, images: Tensor, labels: Tensor, count: int) -> Tensor:
        """Add the gradient of the batch's mean loss, one micro-batch after the other."""
        if count == 1:
            loss = self.loss(images, labels)
            loss.backward()
            return loss.detach()
        total = images.new_zeros((), dtype=torch.float32)
        for x, y in zip(images.tensor_split(count), labels.tensor_split(count), strict=True):
            loss = self.loss(x, y) * (len(y) / len(labels))
            loss.backward()
            total += loss.detach()
        return total

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of images (B, C, H, W) with labels int64 (B,)."""
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._uses_bf16):
            scores = self._forward(images)
        return F.cross_entropy(scores.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _add_penalties(self) -> None:
        decayed = slice(self.parameters.num_decayed)
        values, gradient = self.parameters.values[decayed], self.parameters.gradient[decayed]
        gradient.add_(values, alpha=self.recipe.l2).add_(values.sign(), alpha=self.recipe.l1)

    # The update

    def _looked_at(self, progress: Progress, loss: Tensor) -> tuple[Tensor | None, Refused | None]:
        """Return the gradient's norm, where it is needed, and why the step must not be taken."""
        if not (self._is_looked_at or self.recipe.grad_clip):
            return None, None
        norm = torch.linalg.vector_norm(self.parameters.gradient)
        return norm, self._refusal(
            progress, float(loss), float(norm)
        ) if self._is_looked_at else None

    @staticmethod
    def _refusal(progress: Progress, loss: float, norm: float) -> Refused | None:
        if not math.isfinite(loss):
            return Refused(f"the loss is {loss}")
        if not math.isfinite(norm):
            return Refused(f"the loss is {loss:.4g}, and its gradient {norm}")
        largest = progress.largest_norm
        is_unusual = norm > UNUSUAL * largest > 0 and progress.step >= USUAL_STEPS
        if is_unusual and progress.heeds_spikes:
            why = f"the gradient's norm is {norm:.3g}, and was {largest:.3g} at most"
            return Refused(why, is_finite=True)
        progress.largest_norm = max(largest, norm)
        return None

    def _clip(self, norm: Tensor | None) -> None:
        bound = self.recipe.grad_clip
        if bound and norm is not None:
            self.parameters.gradient.mul_((bound / (norm + 1e-6)).clamp(max=1.0))

    def _follow(self, step: int) -> None:
        """Let the average follow; a young one closely, or it would keep the random beginning."""
        if self.average is not None:
            decay = min(self.recipe.ema, (1 + step) / (10 + step))
            self.average.lerp_(self.parameters.values, 1 - decay)

    # When memory runs out

    def _shrink_batch(self, progress: Progress) -> bool:
        now = self._count_for(self.recipe.batch_size, progress.micro_batches)
        smaller = self._count_for(self.recipe.batch_size, 2 * now)
        if smaller <= now:
            return False
        progress.micro_batches = smaller
        self.parameters.gradient.zero_()  # of the micro-batches that did fit
        if self._before:
            self._before.put_back()
        self._tell(
            "out of memory",
            f"The batch of {self.recipe.batch_size} did not fit into memory: it is computed in "
            f"{smaller} micro-batches from now on; what is learned stays the same",
        )
        return True

    def _shrink_update(self, progress: Progress) -> bool:
        if self.optimizer.parts >= MOST_PARTS:
            return False
        self.optimizer.parts = progress.update_parts = 2 * self.optimizer.parts
        self._tell(
            "out of memory",
            "The optimizer's step did not fit into memory: it is taken in "
            f"{self.optimizer.parts} parts from now on, with the same result",
        )
        return True
