"""Going back when training has come apart, and trying again, a few times.

The first time it is tried as it was: a flipped bit does not come twice. What comes again from the
newest checkpoint may have come from it: weights can be wrong and finite, and are saved then. So it
is tried from the checkpoint before, as it was there, and after that with half the learning rate.
What fails then as well is no accident: the run ends, unless its numbers are finite, which may look
worse than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from traintime.errors import DivergedError
from traintime.recipe.presets import fill_in
from traintime.train.checkpoints import drop_from, load_before

if TYPE_CHECKING:
    from traintime.train.loop import Loop

ATTEMPTS = 2
"""To get past the same place, from the same checkpoint."""
MOST = 10
"""Of all attempts in one process. Both are judgement."""
SPIKE = 100.0
"""Times the loss of the first step that a mean loss counts as a spike at.

Ten times as far, and more, as runs rise that end well: `benchmarks/healthy_losses.py` measures that
(the `highest` of its result).
"""


class SpikeError(DivergedError):
    """A loss or a gradient is far beyond all before, and finite."""


class Rescue:
    """Sends a run back to its last good checkpoint.

    Args:
        loop: The run.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._all = 0

    def is_spike(self, losses: Sequence[float]) -> bool:
        """Say whether losses are far above that of a network that knows nothing."""
        progress = self._loop.progress
        if not (progress.heeds_spikes and losses and progress.first_loss):
            return False
        return sum(losses) / len(losses) > SPIKE * progress.first_loss

    def error(self, step: int, why: str, kind: type[DivergedError]) -> DivergedError:
        """Return what is raised where a run has come apart, with what to type next.

        Args:
            step: That shows it.
            why: What it shows.
            kind: Of error.
        """
        job, recipe = self._loop.job, self._loop.recipe
        kept = sorted(job.checkpoints.glob("step-*.safetensors"))
        told = ("model", "data", "optimizer", "batch_size")
        usual = fill_in({name: getattr(recipe, name) for name in told})["lr"]
        smaller = f"lr={min(job.recipe.lr / 4, recipe.lr / 2, usual):.2g}"
        last, go_on = "No checkpoint was due yet", ""
        if kept:
            resume = job.resume_command
            last = f"The last good checkpoint is '{kept[-1]}'"
            go_on = f"; from there: {resume.replace('resume', 'set', 1)} {smaller} && {resume}"
        hint = f"{last}. Try a smaller learning rate: {smaller}, or grad_clip=1{go_on}"
        return kind(step, f"Training diverged at step {step}: {why}. {hint}")

    def go_back(self, error: DivergedError) -> None:
        """Go back and try again.

        Raises:
            DivergedError: It was tried often enough.
        """
        self._all += 1
        heeded_spikes = self._loop.progress.heeds_spikes
        newest = self._loop.go_back()
        step = self._further_back(newest)
        # Counted from what is on disk, so that it holds for the next process on the run, too.
        attempt = 1 + self._loop.steering.attempts_at(step)
        is_used_up = attempt > ATTEMPTS or self._all > MOST
        if is_used_up and not isinstance(error, SpikeError):
            raise error
        what = str(error).partition(". ")[0]
        self._loop.progress.heeds_spikes = heeded_spikes and not is_used_up
        smaller = {"lr": self._loop.recipe.lr / 2} if attempt == ATTEMPTS else {}
        self._loop.steering.begin_again(smaller)
        self._loop.tell_rollback()
        how = "as before"
        if smaller:
            how = f"with half the learning rate, lr={smaller['lr']:.3g}"
        elif is_used_up:
            how = "and past it this time: it comes again, and all numbers are finite"
        where = f"step {step}" if step else "the beginning"
        doubt = ""
        if step < newest:
            doubt = f" It came again from the checkpoint of step {newest}, which is given up."
        self._loop.tell_event("rolled back", f"{what}.{doubt} Going on from {where}, {how}")

    def _further_back(self, newest: int) -> int:
        """Go back beyond the newest checkpoint if it was tried, and the one before was not.

        What cannot be told from a good checkpoint is given up on the disk, too, or another process
        would go on from it.
        """
        attempts_at, folder = self._loop.steering.attempts_at, self._loop.job.checkpoints
        older = load_before(folder, newest) if attempts_at(newest) else None
        if older is None or attempts_at(older.state["step"]):
            return newest
        drop_from(folder, newest)
        return self._loop.go_back(older)
