"""Writes what a run tells into event files, which TensorBoard shows while it goes and after."""

from __future__ import annotations

from traintime.clock.eta import Clock, Eta
from traintime.ledger.event_file import EventFile
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe
from traintime.recipe.steering import in_words
from traintime.train.records import Change, EpochRecord, Event, Observer, Start, StepRecord


class TensorBoard(Observer):
    """Draws curves in RUN/tensorboard; `tensorboard --logdir RUNS` shows them.

    Changes and events have a tag for each kind, as TensorBoard keeps one text of a tag and step.

    Args:
        folder: The run's.
        clock: Whose ETA is drawn; called before this observer is.
    """

    def __init__(self, folder: RunFolder, clock: Clock) -> None:
        self._folder, self._clock = folder.path / "tensorboard", clock
        self._last_eta: Eta | None = None
        self._file: EventFile | None = None

    def on_start(self, start: Start) -> None:
        """Begin a file; what a crash left beyond the checkpoint is shown no more."""
        self._file = EventFile(self._folder, start.first_step + 1)
        self._last_eta = self._clock.eta

    def on_rollback(self, start: Start) -> None:
        """Show no more what was undone."""
        self._open_file.start(start.first_step + 1)

    def on_steps(self, record: StepRecord) -> None:
        """Go on with the curves of training, and with the ETA if the clock worked it out anew."""
        self._open_file.add_scalars(
            record.step,
            {
                "loss/train": record.loss,
                "lr": record.lr,
                "speed/samples_per_s": record.samples_per_s,
                "speed/step_time_s": record.step_time_s,
                "speed/data_time_s": record.data_time_s,
                **self._new_eta(),
            },
        )

    def on_epoch(self, record: EpochRecord) -> None:
        """Go on with the curves of validation."""
        self._open_file.add_scalars(
            record.step,
            {
                "loss/validation": record.validation_loss,
                "accuracy/validation": record.validation_accuracy,
            },
        )

    def on_change(self, change: Change, recipe: Recipe) -> None:
        """Note a command, and who gave it."""
        what = f" refused: {change.refused}" if change.refused else ""
        what += f" {in_words(change.changes)}" if change.changes else ""
        self._add_text(
            change.step, f"changes/{change.verb}", f"**{change.verb}**{what} (by {change.by})"
        )

    def on_event(self, event: Event) -> None:
        """Note a fault that was survived."""
        self._add_text(event.step, f"events/{event.kind}", f"**{event.kind}** {event.message}")

    def close(self) -> None:
        """Write through to the disk, however training ended."""
        if self._file:
            self._file.close()

    def _add_text(self, step: int, tag: str, text: str) -> None:
        if self._file:  # what is told before the first step stands in the run folder's records
            self._file.add_text(step, tag.replace(" ", "_"), text)

    @property
    def _open_file(self) -> EventFile:
        assert self._file, "on_start comes first"
        return self._file

    def _new_eta(self) -> dict[str, float]:
        eta = self._clock.eta
        if eta is self._last_eta:
            return {}
        self._last_eta = eta
        finish_s = eta.finish_s
        return {
            "eta/remaining_s": finish_s.median - eta.elapsed_s,
            "eta/remaining_low_s": finish_s.low - eta.elapsed_s,
            "eta/remaining_high_s": finish_s.high - eta.elapsed_s,
        }
