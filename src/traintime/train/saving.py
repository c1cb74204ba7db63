"""When checkpoints of a run are written, and what it means when the disk refuses."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from traintime.errors import StorageError
from traintime.train.checkpoint_writer import CheckpointWriter

if TYPE_CHECKING:
    from traintime.train.loop import Loop


class Saving:
    """Writes the checkpoints of a run.

    Args:
        loop: The run.

    Raises:
        StorageError: The folder for checkpoints cannot be made.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._writer = CheckpointWriter(loop.job.checkpoints, self._on_written, self._on_failed)
        self._saved_at = perf_counter()
        self._refusal: StorageError | None = None

    def is_due(self, every_s: float) -> bool:
        """Say whether it is time for a checkpoint, and none is being written."""
        self._writer.poll()
        return not self._writer.is_busy and perf_counter() - self._saved_at >= every_s

    def save_behind(self) -> None:
        """Write a checkpoint while training goes on; a disk that refuses it is an event."""
        began = perf_counter()
        self._writer.submit(self._loop.progress.step, self._loop.state.checkpoint())
        self._note_time(began)

    def save(self) -> None:
        """Write a checkpoint and wait for it.

        Raises:
            StorageError: The disk refused.
        """
        self.save_behind()
        began = perf_counter()
        self.wait()
        self._note_time(began)
        if self._refusal:
            raise self._refusal

    def wait(self) -> None:
        """Wait for a checkpoint that is being written."""
        self._writer.wait()

    def close(self) -> None:
        """Wait for a checkpoint that is being written, and let its memory go."""
        self._writer.close()

    def _note_time(self, began: float) -> None:
        self._saved_at = perf_counter()
        self._loop.progress.seconds["checkpoint"] += self._saved_at - began

    def _on_written(self, step: int) -> None:
        self._refusal = None
        self._loop.tell_saved(step)

    def _on_failed(self, step: int, error: StorageError) -> None:
        self._refusal = error
        last = self._writer.last_written
        kept = "there is none yet" if last is None else f"the last good one is of step {last}"
        message = f"The checkpoint of step {step} is not on disk ({kept}): {error}"
        self._loop.tell_event("checkpoint failed", message)
