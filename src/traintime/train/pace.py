"""How far a run is on its schedule, and whether it is over.

A run of so many epochs moves along its learning-rate schedule step by step. A run with a deadline
moves along it with the time: each step covers the share of what is left of the schedule that it
took of the time that is left for steps. So the rate reaches its end at the deadline however fast
the machine is, and whatever validations, checkpoints and pauses take in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

from traintime.recipe import Recipe
from traintime.recipe.budget import Budget
from traintime.train.progress import Progress


class Pace:
    """The pace of a run that lasts a number of epochs.

    Args:
        epochs: After which the run is over.
        steps_per_epoch: Optimizer steps.
    """

    def __init__(self, epochs: int, steps_per_epoch: int) -> None:
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self._changed_at, self._position_then, self._rate = 0, 0.0, 1.0

    def position(self, progress: Progress) -> float:
        """Return the step of the schedule that comes next, from 0."""
        return self._position_then + (progress.step - self._changed_at) * self._rate

    def change(self, recipe: Recipe, step: int) -> None:
        """Take up another end.

        What is left of the schedule is spread over the steps that are left now, from the learning
        rate that it had come to. The drops of a step schedule stay where they are.

        Args:
            recipe: With the new end.
            step: Steps taken.
        """
        if recipe.epochs == self.epochs:
            return
        if recipe.schedule != "step":
            before, after = (
                epochs * self.steps_per_epoch for epochs in (self.epochs, recipe.epochs)
            )
            position = self._position_then + (step - self._changed_at) * self._rate
            self._position_then = position / before * after
            # An end that is past already is that of the epoch that is being trained.
            end = max(after, -(-step // self.steps_per_epoch) * self.steps_per_epoch)
            self._rate = (after - self._position_then) / max(1, end - step)
            self._changed_at = step
        self.epochs = recipe.epochs

    def resume(self) -> None:
        """Note that steps are about to be taken, after something else was done."""

    def advance(self, progress: Progress) -> None:
        """Note that a step was taken."""

    def settle(self, progress: Progress, steps: int) -> None:
        """Note that the device has done the steps that it was given last, so many of them."""

    def learn_step_time(self, seconds: float) -> None:
        """Note what a step takes now."""

    def learn_validation_time(self, seconds: float) -> None:
        """Note what a validation took."""

    def is_time_over(self, progress: Progress) -> bool:
        """Say whether not even one more step is to be taken."""
        return False

    def is_near_end(self, progress: Progress) -> bool:
        """Say whether the time is so short that a device must not run behind."""
        return False

    def is_over(self, progress: Progress) -> bool:
        """Say whether the run ends after the validation that was just made."""
        return progress.epoch >= self.epochs


@dataclass(frozen=True)
class Expected:
    """What a run is expected to take before any of it was seen.

    Args:
        epochs: That fit into the time: the length of the schedule.
        step_s: Seconds of a step.
        validate_s: Of a validation.
        test_s: Of the test.
        save_s: Of saving the weights, at the end.
    """

    epochs: int
    step_s: float
    validate_s: float
    test_s: float
    save_s: float


@dataclass(frozen=True)
class Deadline:
    """When a run's result has to be there.

    Args:
        budget: The time.
        most_epochs: After which the run is over anyway.
        expected: The forecast.
    """

    budget: Budget
    most_epochs: int
    expected: Expected


class DeadlinePace(Pace):
    """The pace of a run whose result has to be there at some time.

    Args:
        deadline: That time.
        steps_per_epoch: Optimizer steps.
        elapsed_s: Returns what the run has taken so far.
        now: Returns the time of day, with its time zone.
        clock: Returns seconds that only ever grow.
    """

    NEWEST = 0.2
    """Weight of the newest window in what a step takes, so that a change of speed is followed."""
    LONGEST = 5.0
    """Usual steps that one counts as at most: compiling or a pause is none of the schedule."""
    NEAR_S = 0.5
    """Before the end of the time, a device that runs behind is waited for after each step."""

    def __init__(
        self,
        deadline: Deadline,
        steps_per_epoch: int,
        elapsed_s: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        super().__init__(deadline.most_epochs, steps_per_epoch)
        self.budget = deadline.budget
        self.expected = expected = deadline.expected
        self._elapsed_s, self._now, self._clock = elapsed_s, now, clock
        self._step_s, self._validate_s = expected.step_s, expected.validate_s
        self._finish_s = expected.test_s + expected.save_s
        self._stepped_at = clock()
        self._was_over = False

    def change(self, recipe: Recipe, step: int) -> None:
        """Take up another deadline; the schedule goes on from where it is."""
        if recipe.time_budget:
            self.budget = recipe.time_budget

    def position(self, progress: Progress) -> float:
        """Return the step of the schedule that comes next, were it in steps."""
        return progress.schedule_share * self.expected.epochs * self.steps_per_epoch

    def resume(self) -> None:
        """Begin to count the time of the next step now."""
        self._stepped_at = self._clock()

    def advance(self, progress: Progress) -> None:
        """Move along the schedule by what the step took of the time for steps."""
        of_steps = 1 / max(1, self.epochs * self.steps_per_epoch - progress.step + 1)
        self._move(progress, max(self._share_taken(progress), of_steps))

    def settle(self, progress: Progress, steps: int) -> None:
        """Move along by what was waited for a device that runs behind."""
        self._move(progress, self._share_taken(progress, steps))

    def _share_taken(self, progress: Progress, steps: int = 1) -> float:
        """Return the share of the time left for steps that has passed since this was last asked."""
        ended = self._clock()
        taken_s = min(ended - self._stepped_at, self.LONGEST * steps * self._step_s)
        self._stepped_at = ended
        return taken_s / (taken_s + self.left_for_steps_s(progress)) if taken_s > 0 else 0.0

    @staticmethod
    def _move(progress: Progress, share: float) -> None:
        progress.schedule_share += (1 - progress.schedule_share) * share

    def learn_step_time(self, seconds: float) -> None:
        """Follow what a step takes."""
        self._step_s += self.NEWEST * (seconds - self._step_s)

    def learn_validation_time(self, seconds: float) -> None:
        """Take what a validation took, and the test for as much longer as was expected."""
        expected = self.expected
        if expected.validate_s > 0:
            self._finish_s = expected.test_s * seconds / expected.validate_s + expected.save_s
        self._validate_s = seconds

    def left_s(self) -> float:
        """Return the seconds to the deadline; negative once it is past."""
        return self.budget.left_s(self._elapsed_s(), self._now())

    def left_for_steps_s(self, progress: Progress) -> float:
        """Return what is left for steps, once validations and the test have had their part."""
        left_s = self.left_s() - self._finish_s - self._validate_s
        to_boundary_s = (self.steps_per_epoch - progress.position) * self._step_s
        if left_s <= to_boundary_s:
            return max(0.0, left_s)
        beyond_s = left_s - to_boundary_s - self._validate_s
        if beyond_s <= 0:  # the validation at the end of this epoch is the last one
            return to_boundary_s
        steps_s = self.steps_per_epoch * self._step_s
        whole, rest_s = divmod(beyond_s, steps_s + self._validate_s)
        return to_boundary_s + whole * steps_s + min(rest_s, steps_s)

    def is_time_over(self, progress: Progress) -> bool:
        """Say whether another step would come too late."""
        self._was_over = self.left_for_steps_s(progress) < self._step_s
        return self._was_over

    def is_near_end(self, progress: Progress) -> bool:
        """Say whether the time is so short that a device must not run behind."""
        return self.left_for_steps_s(progress) < self.NEAR_S

    def is_over(self, progress: Progress) -> bool:
        """Say whether no step comes before the deadline any more, or all epochs are done.

        A time that was over stays so, even if the validation was quicker than expected: the rate
        has come to its end.
        """
        return super().is_over(progress) or self._was_over or self.is_time_over(progress)
