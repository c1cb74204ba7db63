"""Writes what a run tells into its folder."""

from __future__ import annotations

import dataclasses

from traintime.clock.eta import Clock, Eta
from traintime.ledger.run_folder import RecordFile, RunFolder
from traintime.train.records import EpochRecord, Observer, Start, StepRecord


class Recorder(Observer):
    """Keeps step, epoch and ETA records.

    Args:
        folder: Where to.
        clock: Whose ETA is kept; called before this observer is.
    """

    def __init__(self, folder: RunFolder, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._last_eta: Eta | None = None
        self._files: dict[str, RecordFile] = {}

    def on_start(self, start: Start) -> None:
        """Drop what a crash left beyond the checkpoint that is resumed from."""
        self._folder.forget_after("steps", "step", start.first_step)
        # Not by step: a checkpoint of an epoch's last step stands before its validation.
        self._folder.forget_after("epochs", "epoch", start.first_epoch)
        self._folder.forget_after("eta", "elapsed_s", start.resumed_at_s)
        self._files = {
            name: RecordFile(self._folder.path / f"{name}.jsonl")
            for name in ("steps", "epochs", "eta")
        }
        self._add_eta()

    def on_steps(self, record: StepRecord) -> None:
        """Keep a step record and the ETA after it."""
        self._files["steps"].add(dataclasses.asdict(record))
        self._add_eta()

    def on_epoch(self, record: EpochRecord) -> None:
        """Keep an epoch record and the ETA after it."""
        self._files["epochs"].add(dataclasses.asdict(record))
        self._add_eta()

    def close(self) -> None:
        """Write through to the disk, however training ended."""
        for file in self._files.values():
            file.close()

    def _add_eta(self) -> None:
        eta = self._clock.eta
        if eta is not self._last_eta:  # the clock does not work it out anew each time
            self._last_eta = eta
            self._files["eta"].add(dataclasses.asdict(eta))
