"""Writes what a run tells into its folder."""

from __future__ import annotations

import dataclasses

from traintime.clock.eta import Clock
from traintime.ledger.run_folder import RecordFile, RunFolder
from traintime.train.records import EpochRecord, Observer, Start, StepRecord


class Recorder(Observer):
    """Keeps step, epoch and ETA records.

    Args:
        folder: Where to.
        clock: Whose ETA is kept; up to date when this observer is called.
    """

    def __init__(self, folder: RunFolder, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def on_start(self, start: Start) -> None:
        """Drop what a crash left beyond the checkpoint that is resumed from."""
        for name in ("steps", "epochs"):
            self._folder.forget_after(name, "step", start.first_step)
        self._folder.forget_after("eta", "elapsed_s", start.elapsed_s)
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

    def on_end(self, status: str) -> None:
        """Write through to the disk."""
        for file in self._files.values():
            file.close()

    def _add_eta(self) -> None:
        self._files["eta"].add(dataclasses.asdict(self._clock.eta))
