"""The training loop.

Steps are taken one after the other (`stepper`); everything else (records, checkpoints, signals,
commands) happens between windows of steps, a few times a second, so it costs a step next to
nothing. What goes wrong for good in a step, a validation or a checkpoint sends the run back to the
last good checkpoint, a few times.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from time import perf_counter, sleep
from typing import NoReturn, TypeVar

import torch
from torch import Tensor

from traintime.errors import (
    DataUnavailableError,
    DivergedError,
    RunFolderError,
    StoppedError,
    StorageError,
)
from traintime.train.checkpoints import Checkpoint, load_latest
from traintime.train.job import Job
from traintime.train.out_of_memory import in_smaller_parts
from traintime.train.pace import DeadlinePace, Pace
from traintime.train.progress import Progress
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
from traintime.train.rescue import Rescue, SpikeError
from traintime.train.saving import Saving
from traintime.train.schedules import learning_rate
from traintime.train.signals import StopNow, StopRequest
from traintime.train.steering import Steering, now
from traintime.train.stepper import USUAL_STEPS, Refused, Stepper
from traintime.train.training_state import TrainingState

T = TypeVar("T")
WINDOW_S = 0.2
"""Steps are recorded, and losses looked at, so often."""
PAUSE_S = 0.05
"""A paused run looks for commands so often."""
MOST_REFUSED_IN_A_ROW = 3
MOST_REFUSED, MOST_REFUSED_SHARE = 10, 0.01
"""Steps that may be refused: so many, or that share of all of them if that is more."""


class Loop:
    """Trains a job to its end; all that changes while it does lives here and in its state."""

    def __init__(self, job: Job, observers: Sequence[Observer], stop: StopRequest) -> None:
        self.job, self.recipe = job, job.recipe
        self.observers = observers
        self.stop = stop
        self.stepper = Stepper(job.module, job.batches, job.recipe, job.execution, self.tell_event)
        self.state = TrainingState(
            job.module, job.batches, self.stepper, keeps_best=job.recipe.patience > 0
        )
        self.steering = Steering(self, job.commands)
        self.rescue = Rescue(self)
        self.saving = Saving(self)
        self.pace = self.first_pace()
        self._device_type = torch.device(job.execution.device).type
        self._elapsed_before_s = 0.0
        self._paused_at: float | None = None
        self._losses: list[Tensor] = []
        self._window_steps = 0
        self._refused_in_a_row = 0
        self._window_began = 0.0
        self._window_end = 0.0
        self._attend_at = 0.0
        self._step_times_s: list[float] = []
        self._lr = 0.0
        self._reason = ""
        self._data_s_before = 0.0

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        return self.state.progress

    def first_pace(self) -> Pace:
        """Return the pace that the run began with."""
        steps = self.job.batches.steps_per_epoch
        if self.job.deadline:
            return DeadlinePace(self.job.deadline, steps, self.elapsed_s)
        return Pace(self.job.recipe.epochs, steps)

    def run(self) -> Outcome:
        """Train until the target, the last epoch or early stopping.

        Raises:
            DivergedError: The loss is no longer finite, and was not when it was tried again.
            StoppedError: A signal or a command came; the run is saved.
            StorageError: The disk refused the checkpoint of a run that was to stop.
            DataUnavailableError: A batch cannot be had; the run is saved.
        """
        try:
            return self._run()
        except StopNow:
            raise self.stopped() from None
        except DataUnavailableError as error:  # the state is whole, as before the step
            kept = self._saved_in_words() if self._step_times_s else ""
            go_on = f"Stopped{kept}. To go on, type: {self.job.resume_command}"
            raise DataUnavailableError(f"{error}. {go_on}") from error

    def _run(self) -> Outcome:
        self._tell("on_start", self.start())
        self.steering.begin()
        while self.progress.status == "running":
            try:
                self._train_epoch()
                self._finish_epoch()
                self._attend()
            except DivergedError as error:
                self.rescue.go_back(error)
        # What reached the target is kept, even if early stopping watches something else.
        best = self.state.best
        is_last = best is None or self.progress.status == "target reached"
        self.state.put(self.state.judged() if is_last else best or {})
        self.saving.wait()
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

    def start(self) -> Start:
        """Return where the run stands, for those who begin to follow it there."""
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
        """Seconds since the run began, earlier processes included, pauses and time between not."""
        now = perf_counter() if self._paused_at is None else self._paused_at
        return self._elapsed_before_s + now - self.job.began_at

    # One epoch

    def _train_epoch(self) -> None:
        progress, batches = self.progress, self.job.batches
        batches.start_epoch(progress.epoch)
        self.job.module.train()
        self._open_window()
        # The first step of a process warms up caches and allocators: a window of its own.
        self._window_end = self._window_began if not self._step_times_s else self._window_end
        for position in range(progress.position, batches.steps_per_epoch):
            self.steering.take_up_what_is_due()
            try:
                self._take_step(position)
            except (StopNow, DataUnavailableError):
                self._close_window()  # the steps before it count; this one has changed nothing
                raise
            self._advance()
            if self.pace.is_time_over(progress):
                break
            if perf_counter() >= self._window_end or self.stop.signal_number:
                self._between_windows()
        self._close_window()
        self.steering.take_up_what_is_due()

    def _take_step(self, position: int) -> None:
        loss = self._step(position)
        progress = self.progress
        progress.step += 1
        progress.position = position + 1
        self._window_steps += 1
        if isinstance(loss, Refused):
            self._count_refused(loss)
        else:
            self._refused_in_a_row = 0
            self._losses.append(loss)

    def _step(self, position: int) -> Tensor | Refused:
        self._lr = self._learning_rate()
        # Until the first step is done there is nothing to save: it may be left, while it compiles.
        with self.stop.immediate() if not self._step_times_s else nullcontext():
            return self.stepper.take(self.progress, position, self._lr)

    def _learning_rate(self) -> float:
        position = self.pace.position(self.progress)
        return learning_rate(self.recipe, position, self.job.batches.steps_per_epoch)

    def _advance(self) -> None:
        """Move along the schedule; a GPU is waited for only when the time is nearly over."""
        self.pace.advance(self.progress)
        if self._device_type == "cuda" and self.pace.is_near_end(self.progress):
            torch.cuda.synchronize(self.job.execution.device)
            self.pace.settle(self.progress, 1)

    def _count_refused(self, refused: Refused) -> None:
        progress = self.progress
        progress.refused += 1
        progress.refused_in_epoch += 1
        self._refused_in_a_row += 1
        many = max(MOST_REFUSED, MOST_REFUSED_SHARE * progress.step)
        if self._refused_in_a_row > MOST_REFUSED_IN_A_ROW or progress.refused > many:
            first = progress.step - self._refused_in_a_row + 1
            self.diverge(first, refused.why, SpikeError if refused.is_finite else DivergedError)
        self.tell_event("not finite", f"Step {progress.step} was not taken: {refused.why}")

    def _finish_epoch(self) -> None:
        progress = self.progress
        began = perf_counter()
        validation = self._validate()
        taken_s = perf_counter() - began
        progress.seconds["validate"] += taken_s
        self.pace.learn_validation_time(taken_s)
        train_loss = progress.loss_sum / max(1, progress.position - progress.refused_in_epoch)
        if not math.isfinite(validation.loss):  # the epoch's last update may have broken it
            self.diverge(progress.step, f"the validation loss is {validation.loss}")
        progress.epoch += 1
        progress.position, progress.loss_sum, progress.refused_in_epoch = 0, 0.0, 0
        progress.elapsed_s = self.elapsed_s()
        if progress.improves(self.recipe, validation):
            self.state.keep_as_best()
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
        if progress.status == "stopped early":
            self._reason = (
                f"{self.recipe.monitor} was no better for {progress.stale_epochs} epochs "
                f"(patience={self.recipe.patience})"
            )
        if progress.status == "running":
            reasons = (observer.stop_reason() for observer in self.observers)
            self._reason = next(filter(None, reasons), "")
            progress.status = "stopped early" if self._reason else "running"

    def _validate(self) -> Validation:
        """Return what the model is worth now; a signal leaves it at once, to be done anew."""
        with self.state.averaged(), self.stop.immediate():
            return self.in_memory(lambda size: self.job.validate(self.job.module, size))

    def in_memory(self, judge: Callable[[int], T]) -> T:
        """Return what `judge` finds, given so many samples at once as fit into memory."""

        def size() -> int:
            return self.progress.validation_batch or self.job.validation_batch

        def shrink() -> bool:
            if size() == 1:
                return False
            self.progress.validation_batch = size() // 2
            self.tell_event(
                "out of memory",
                f"Judging {2 * size():,} samples at once did not fit into memory: {size():,} are "
                "judged at once from now on, with the same result",
            )
            return True

        return in_smaller_parts(lambda: judge(size()), shrink)

    def _samples_seen(self) -> int:
        epochs, steps = divmod(self.progress.step, self.job.batches.steps_per_epoch)
        return epochs * self.job.train_samples + steps * self.recipe.batch_size

    # Between windows of steps

    def _between_windows(self) -> None:
        self._close_window()
        self._attend()
        self._open_window()

    def _attend(self) -> None:
        """See to all that is no training; between two short epochs not each time."""
        if self.stop.signal_number and self.progress.status == "running":
            raise self.stopped()
        if perf_counter() < self._attend_at or self.progress.status != "running":
            return
        self._attend_at = perf_counter() + WINDOW_S
        self.job.refuse_if_lost()
        self.steering.obey()
        if self.saving.is_due(self.recipe.checkpoint_every_s):
            self._refuse_to_save_what_is_broken()
            self.saving.save_behind()

    def _open_window(self) -> None:
        self._window_began = perf_counter()
        self._window_end = self._window_began + WINDOW_S
        self._data_s_before = self.stepper.data_s
        self.pace.resume()

    def _close_window(self) -> None:
        if not self._window_steps:
            return
        losses: list[float] = []
        if self._losses:
            losses = torch.stack(self._losses).tolist()  # waits for a GPU
        steps, self._window_steps = self._window_steps, 0
        self._losses.clear()
        self.pace.settle(self.progress, steps)
        seconds = perf_counter() - self._window_began
        self._look_at(losses)
        for loss in losses:  # one by one, so that the sum does not depend on the windows
            self.progress.loss_sum += loss
        self.progress.seconds["train"] += seconds
        self.progress.elapsed_s = self.elapsed_s()
        if losses:
            self._record_steps(losses, steps, seconds)

    def _record_steps(self, losses: list[float], steps: int, seconds: float) -> None:
        progress = self.progress
        per_epoch = self.job.batches.steps_per_epoch
        self._step_times_s.append(seconds / steps)
        if len(self._step_times_s) > 1:
            self.pace.learn_step_time(seconds / steps)
        self._tell(
            "on_steps",
            StepRecord(
                step=progress.step,
                epoch=progress.epoch + progress.position / per_epoch,
                loss=math.fsum(losses) / len(losses),
                lr=self._lr,
                samples_per_s=self.recipe.batch_size * steps / seconds,
                elapsed_s=progress.elapsed_s,
                step_time_s=seconds / steps,
                data_time_s=(self.stepper.data_s - self._data_s_before) / steps,
            ),
        )

    def _look_at(self, losses: list[float]) -> None:
        """Refuse losses that are not finite, or that show that training has come apart."""
        first_step = self.progress.step - len(losses) + 1
        for index, loss in enumerate(losses):
            if not math.isfinite(loss):
                self.diverge(first_step + index, f"the loss is {loss}")
        if losses and self.progress.first_loss is None and first_step <= USUAL_STEPS:
            self.progress.first_loss = losses[0]
        if self.rescue.is_spike(losses):
            why = f"the loss is {max(losses):.4g}, far above that of chance"
            self.diverge(first_step, why, SpikeError)

    def diverge(self, step: int, why: str, kind: type[DivergedError] = DivergedError) -> NoReturn:
        """Say that the run cannot go on from what it has come to.

        Raises:
            DivergedError: Always, of this kind.
        """
        self._losses.clear()
        self._window_steps = 0
        raise self.rescue.error(step, why, kind)

    # To stop and to pause

    def stopped(self, by: str = "", number: int = signal.SIGTERM) -> StoppedError:
        """Save, and return the error that says so.

        Args:
            by: Who asked for it, if it was no signal.
            number: The signal that it is like.
        """
        number = self.stop.signal_number or number
        how = f"Stopped{by}"
        if self._step_times_s:
            how += self._saved_in_words()
        else:
            how += " before the first step was done; nothing is lost"
        self.close()
        return StoppedError(number, f"{how}. To go on, type: {self.job.resume_command}")

    @property
    def is_pausing(self) -> bool:
        """Whether the run waits for a command to go on."""
        return self._paused_at is not None

    def _saved_in_words(self) -> str:
        try:
            self.save()
        except DivergedError:  # nothing that is broken is saved, not even in a hurry
            return f" at step {self.progress.step}; the last good checkpoint is kept"
        return f" and saved at step {self.progress.step}"

    def pause(self) -> None:
        """Save, and wait until a command ends the pause; that time does not count as elapsed."""
        with suppress(StorageError):  # it is told; a pause does not end a run
            self.save()
        self._paused_at = perf_counter()
        while self.steering.is_paused:
            sleep(PAUSE_S)
            if self.stop.signal_number:
                raise self.stopped()
            self.steering.obey()
        self._elapsed_before_s -= perf_counter() - self._paused_at
        self._paused_at = None

    # Checkpoints

    def save(self) -> None:
        """Write a checkpoint and wait for it.

        Raises:
            DivergedError: Something in it is no longer finite.
            StorageError: The disk refused.
        """
        self._refuse_to_save_what_is_broken()
        self.saving.save()

    def _refuse_to_save_what_is_broken(self) -> None:
        broken = self.state.broken_part()
        if broken:
            self.diverge(self.progress.step, f"{broken} is no longer finite")
        self.progress.elapsed_s = self.elapsed_s()

    def close(self) -> None:
        """Wait for a checkpoint that is being written."""
        self.saving.close()

    def restore(self, checkpoint: Checkpoint, changes: Sequence[Change] = ()) -> None:
        """Go on from a checkpoint of the same recipe.

        Args:
            checkpoint: Where to go on from.
            changes: Taken up by earlier processes on the run.

        Raises:
            RunFolderError: It is of another recipe.
        """
        if not self.state.fits(checkpoint):
            recipe = self.job.checkpoints.parent / "recipe.yaml"
            raise RunFolderError(
                "The checkpoint does not fit the run's recipe, which must have been changed since. "
                f"Train the changed one as a new run: traintime train '{recipe}'"
            )
        self.state.restore(checkpoint)
        self._elapsed_before_s = self.progress.elapsed_s
        self.steering.recall(changes)

    def go_back(self, to: Checkpoint | None = None) -> int:
        """Go back to a checkpoint, the last good one, or to the beginning; return its step.

        The time that was spent stays spent.
        """
        self.saving.wait()
        elapsed_s, seconds = self.elapsed_s(), self.progress.seconds
        checkpoint = to or load_latest(
            self.job.checkpoints, lambda line: self.tell_event("damaged checkpoint", line)
        )
        if checkpoint:
            self.state.restore(checkpoint)
        else:
            self.state.begin_again(self.job.draw_again())
        self.progress.elapsed_s, self.progress.seconds = elapsed_s, seconds
        self._refused_in_a_row = 0
        return self.progress.step

    # Who listens

    def tell_event(self, kind: str, message: str) -> None:
        """Tell a fault that was survived."""
        event = Event(kind, message, self.progress.step, self.elapsed_s(), now())
        self._tell("on_event", event)

    def tell_saved(self, step: int) -> None:
        """Tell that a checkpoint is on disk."""
        self._tell("on_checkpoint", step)

    def tell_recipe(self) -> None:
        """Tell that another recipe holds from now on."""
        self._tell("on_recipe", self.recipe)

    def tell_change(self, change: Change) -> None:
        """Tell what a command did."""
        for observer in self.observers:
            observer.on_change(change, self.recipe)

    def tell_rollback(self) -> None:
        """Tell that what came after the present step is undone."""
        self._tell("on_rollback", self.start())

    def _tell(self, hook: str, argument: object) -> None:
        for observer in self.observers:
            getattr(observer, hook)(argument)
