"""The training loop.

One step is: a slice of the resident data, forward, backward, one optimizer update on flat
parameters. Everything else (records, checkpoints, signals) happens between windows of steps, a few
times a second, so it costs a step next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traintime.data.resident import ResidentBatches
from traintime.errors import DivergedError, RunFolderError, StoppedError
from traintime.hardware.execution import Execution
from traintime.recipe import Recipe
from traintime.train.checkpoints import Checkpoint, save_checkpoint
from traintime.train.flat import FlatParameters
from traintime.train.optimizers import make_optimizer
from traintime.train.pace import Deadline, DeadlinePace, Pace
from traintime.train.progress import Progress
from traintime.train.records import EpochRecord, Observer, Outcome, Start, StepRecord, Validation
from traintime.train.schedules import learning_rate
from traintime.train.signals import StopRequest

WINDOW_S = 0.2
"""Steps are recorded, and losses looked at, so often."""


@dataclass(frozen=True)
class Job:
    """All that the loop needs, decided and built.

    Args:
        recipe: What was asked for.
        execution: How it is computed.
        module: The network on its device, freshly drawn.
        batches: The training part.
        train_samples: How many samples it has.
        validate: Measures a model on the validation part.
        checkpoints: Folder for checkpoints.
        began_at: `perf_counter()` when this process began on the run, so that preparing counts.
        resume_command: What to type to go on with this run.
        deadline: When the result has to be there; None for a run of so many epochs.
    """

    recipe: Recipe
    execution: Execution
    module: nn.Module
    batches: ResidentBatches
    train_samples: int
    validate: Callable[[nn.Module], Validation]
    checkpoints: Path
    began_at: float
    resume_command: str
    deadline: Deadline | None = None


class Loop:
    """Trains a job to its end; all that changes while it does lives here."""

    def __init__(self, job: Job, observers: Sequence[Observer], stop: StopRequest) -> None:
        self.job, self.recipe = job, job.recipe
        self.observers = observers
        self.stop = stop
        self.progress = Progress()
        channels_last = job.execution.memory_format == "channels_last"
        self.parameters = FlatParameters(job.module, channels_last=channels_last)
        self.optimizer = make_optimizer(self.parameters, job.recipe)
        self.average = self.parameters.values.clone() if job.recipe.ema else None
        self.best = self._copy_of_judged() if job.recipe.patience else None
        self._forward = (
            torch.compile(job.module, dynamic=False) if job.execution.compile else job.module
        )
        self._device_type = torch.device(job.execution.device).type
        self._elapsed_before_s = 0.0
        self._losses: list[Tensor] = []
        self._window_began = 0.0
        self._window_end = 0.0
        self._saved_at = perf_counter()
        self._step_times_s: list[float] = []
        self._lr = 0.0
        self._reason = ""
        steps = job.batches.steps_per_epoch
        self.pace = Pace(job.recipe.epochs, steps)
        if job.deadline:
            self.pace = DeadlinePace(job.deadline, steps, self.elapsed_s)

    def run(self) -> Outcome:
        """Train until the target, the last epoch or early stopping.

        Raises:
            DivergedError: The loss is no longer finite.
            StoppedError: A signal came; the run is saved.
            StorageError: The disk refused a checkpoint.
        """
        self._tell("on_start", self._start())
        while self.progress.status == "running":
            self._train_epoch()
            self._finish_epoch()
        # What reached the target is kept, even if early stopping watches something else.
        is_last = self.best is None or self.progress.status == "target reached"
        self._put_judged(self._judged() if is_last else self.best or {})
        self._tell("on_end", self.progress.status)
        return Outcome(
            self.progress.status,
            self.progress.step,
            self.progress.epoch,
            self.progress.time_to_target_s,
            dict(self.progress.seconds),
            tuple(self._step_times_s[1:]),
            self._reason,
        )

    def _start(self) -> Start:
        per_epoch = self.job.batches.steps_per_epoch
        return Start(
            steps_per_epoch=per_epoch,
            total_steps=self.recipe.epochs * per_epoch,
            first_step=self.progress.step,
            elapsed_s=self.elapsed_s(),
            first_epoch=self.progress.epoch,
            resumed_at_s=self._elapsed_before_s,
        )

    def elapsed_s(self) -> float:
        """Seconds since the run began, earlier processes included, time in between not."""
        return self._elapsed_before_s + perf_counter() - self.job.began_at

    # One epoch

    def _train_epoch(self) -> None:
        progress, batches = self.progress, self.job.batches
        batches.start_epoch(progress.epoch)
        self.job.module.train()
        self._open_window()
        # The first step of a process warms up caches and allocators: a window of its own.
        self._window_end = self._window_began if not self._step_times_s else self._window_end
        for position in range(progress.position, batches.steps_per_epoch):
            self._losses.append(self._step(position))
            progress.step += 1
            progress.position = position + 1
            self._advance()
            if self.pace.is_time_over(progress):
                break
            if perf_counter() >= self._window_end or self.stop.signal_number:
                self._between_windows()
        self._close_window()

    def _advance(self) -> None:
        """Move along the schedule; a GPU is waited for only when the time is nearly over."""
        self.pace.advance(self.progress)
        if self._device_type == "cuda" and self.pace.is_near_end(self.progress):
            torch.cuda.synchronize(self.job.execution.device)
            self.pace.settle(self.progress, 1)

    def _step(self, position: int) -> Tensor:
        recipe, parameters = self.recipe, self.parameters
        images, labels = self.job.batches.batch(position)
        loss = self._accumulate_gradient(images, labels)
        if recipe.l1 or recipe.l2:
            self._add_penalties()
        if recipe.grad_clip:
            norm = parameters.gradient.norm()
            parameters.gradient.mul_((recipe.grad_clip / (norm + 1e-6)).clamp(max=1.0))
        step, lr = self.progress.step, self._learning_rate()
        self._lr = lr
        with torch.no_grad():
            self.optimizer.step(lr, step + 1)
            parameters.gradient.zero_()
            if self.average is not None:
                # A young average follows closely, or it would keep the random beginning.
                decay = min(recipe.ema, (1 + step) / (10 + step))
                self.average.lerp_(parameters.values, 1 - decay)
        return loss

    def _learning_rate(self) -> float:
        position = self.pace.position(self.progress)
        return learning_rate(self.recipe, position, self.job.batches.steps_per_epoch)

    def _accumulate_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add the gradient of the batch's mean loss, one micro-batch after the other."""
        count = self.recipe.accumulate
        if count == 1:
            loss = self._loss(images, labels)
            loss.backward()
            return loss.detach()
        total = images.new_zeros((), dtype=torch.float32)
        parts = min(count, len(labels))
        pairs = zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True)
        for x, y in pairs:
            loss = self._loss(x, y) * (len(y) / len(labels))
            loss.backward()
            total += loss.detach()
        return total

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(
            self._device_type, torch.bfloat16, enabled=self.job.execution.precision == "bf16"
        ):
            scores = self._forward(images)
        return F.cross_entropy(scores.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _add_penalties(self) -> None:
        decayed = slice(self.parameters.num_decayed)
        values, gradient = self.parameters.values[decayed], self.parameters.gradient[decayed]
        gradient.add_(values, alpha=self.recipe.l2).add_(values.sign(), alpha=self.recipe.l1)

    def _finish_epoch(self) -> None:
        progress = self.progress
        began = perf_counter()
        with self._averaged():
            validation = self.job.validate(self.job.module)
        taken_s = perf_counter() - began
        progress.seconds["validate"] += taken_s
        self.pace.learn_validation_time(taken_s)
        train_loss = progress.loss_sum / max(1, progress.position)
        progress.epoch += 1
        progress.position, progress.loss_sum = 0, 0.0
        progress.elapsed_s = self.elapsed_s()
        if not math.isfinite(validation.loss):  # the epoch's last update may have broken it
            self._diverge(progress.step, f"the validation loss is {validation.loss}")
        if progress.improves(self.recipe, validation) and self.best is not None:
            for name, tensor in self._judged().items():
                self.best[name].copy_(tensor)
        progress.decide_end(self.recipe, validation, is_over=self.pace.is_over(progress))
        goal = self.recipe.goal
        margin = self.recipe.margin(validation.deviation(goal.metric)) if goal else 0.0
        samples_per_s = self._samples_seen() / max(progress.seconds["train"], 1e-9)
        self._tell(
            "on_epoch",
            EpochRecord(
                progress.epoch,
                progress.step,
                train_loss,
                validation.loss,
                validation.accuracy,
                samples_per_s,
                progress.elapsed_s,
                margin,
            ),
        )
        if progress.status == "running":
            reasons = (observer.stop_reason() for observer in self.observers)
            self._reason = next(filter(None, reasons), "")
            progress.status = "stopped early" if self._reason else "running"

    def _samples_seen(self) -> int:
        epochs, steps = divmod(self.progress.step, self.job.batches.steps_per_epoch)
        return epochs * self.job.train_samples + steps * self.recipe.batch_size

    def _judged(self) -> dict[str, Tensor]:
        """What a validation judges: the weights or their average, and running statistics."""
        values = self.parameters.values if self.average is None else self.average
        return {"values": values, **dict(self.job.module.named_buffers())}

    def _copy_of_judged(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._judged().items()}

    def _put_judged(self, judged: Mapping[str, Tensor]) -> None:
        """Put what was judged in place, for good."""
        self.parameters.values.copy_(judged["values"])
        for name, buffer in self.job.module.named_buffers():
            buffer.copy_(judged[name])

    @contextmanager
    def _averaged(self) -> Generator[None]:
        """Put the averaged weights in place for a while, if there are any."""
        if self.average is None:
            yield
            return
        current = self.parameters.values.clone()
        self.parameters.values.copy_(self.average)
        try:
            yield
        finally:
            self.parameters.values.copy_(current)

    # Between windows of steps

    def _between_windows(self) -> None:
        self._close_window()
        now = perf_counter()
        if self.stop.signal_number:
            self.save()
            number = self.stop.signal_number
            raise StoppedError(
                number,
                f"Stopped and saved at step {self.progress.step}. "
                f"To go on, type: {self.job.resume_command}",
            )
        if now - self._saved_at >= self.recipe.checkpoint_every_s:
            self.save()
        self._open_window()

    def _open_window(self) -> None:
        self._window_began = perf_counter()
        self._window_end = self._window_began + WINDOW_S
        self.pace.resume()

    def _close_window(self) -> None:
        if not self._losses:
            return
        losses = [float(loss) for loss in torch.stack(self._losses).tolist()]  # waits for a GPU
        self.pace.settle(self.progress, len(losses))
        seconds = perf_counter() - self._window_began
        self._losses.clear()
        self._refuse_infinite(losses)
        for loss in losses:  # one by one, so that the sum does not depend on the windows
            self.progress.loss_sum += loss
        self.progress.seconds["train"] += seconds
        self.progress.elapsed_s = self.elapsed_s()
        self._record_steps(losses, seconds)

    def _record_steps(self, losses: list[float], seconds: float) -> None:
        progress, steps = self.progress, len(losses)
        per_epoch = self.job.batches.steps_per_epoch
        self._step_times_s.append(seconds / steps)
        if len(self._step_times_s) > 1:
            self.pace.learn_step_time(seconds / steps)
        self._tell(
            "on_steps",
            StepRecord(
                step=progress.step,
                epoch=progress.epoch + progress.position / per_epoch,
                loss=math.fsum(losses) / steps,
                lr=self._lr,
                samples_per_s=self.recipe.batch_size * steps / seconds,
                elapsed_s=progress.elapsed_s,
                step_time_s=seconds / steps,
            ),
        )

    def _refuse_infinite(self, losses: list[float]) -> None:
        for index, loss in enumerate(losses):
            if not math.isfinite(loss):
                self._diverge(self.progress.step - len(losses) + index + 1, f"the loss is {loss}")

    def _diverge(self, step: int, why: str) -> None:
        kept = sorted(self.job.checkpoints.glob("step-*.safetensors"))
        last = (
            f"The last good checkpoint is '{kept[-1]}'." if kept else "No checkpoint was due yet."
        )
        raise DivergedError(
            step,
            f"Training diverged at step {step}: {why}. {last} "
            f"Try a smaller learning rate: lr={self.recipe.lr / 4:.2g}, or grad_clip=1",
        )

    # Checkpoints

    def save(self) -> None:
        """Write a checkpoint, unless the weights are no longer finite."""
        began = perf_counter()
        if not bool(self.parameters.values.isfinite().all()):
            self._diverge(self.progress.step, "a weight is no longer finite")
        self.progress.elapsed_s = self.elapsed_s()
        save_checkpoint(self.job.checkpoints, self.progress.step, self._checkpoint())
        self._saved_at = perf_counter()
        self.progress.seconds["checkpoint"] += self._saved_at - began
        self._tell("on_checkpoint", self.progress.step)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same recipe.

        Raises:
            RunFolderError: It is of another recipe.
        """
        tensors, ours = checkpoint.tensors, self._tensors()
        if any(name not in tensors or tensors[name].shape != ours[name].shape for name in ours):
            recipe = self.job.checkpoints.parent / "recipe.yaml"
            raise RunFolderError(
                "The checkpoint does not fit the run's recipe, which must have been changed since. "
                f"Train the changed one as a new run: traintime train '{recipe}'"
            )
        for name, tensor in ours.items():
            tensor.copy_(tensors[name])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self._device_type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.job.execution.device)
        self.job.batches.set_state(tensors["random.augmentation"])
        self.progress = Progress.from_json(dict(checkpoint.state))
        self._elapsed_before_s = self.progress.elapsed_s

    def _checkpoint(self) -> Checkpoint:
        tensors = dict(self._tensors())
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device_type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.job.execution.device)
        tensors["random.augmentation"] = self.job.batches.state()
        return Checkpoint(tensors, self.progress.to_json())

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, by its name in a checkpoint."""
        tensors = {"parameters": self.parameters.values}
        tensors |= {f"optimizer.{name}": slot for name, slot in self.optimizer.state.items()}
        tensors |= {f"buffer.{name}": buffer for name, buffer in self.job.module.named_buffers()}
        if self.average is not None:
            tensors["average"] = self.average
        if self.best is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        return tensors

    def _tell(self, hook: str, argument: object) -> None:
        for observer in self.observers:
            getattr(observer, hook)(argument)
