"""Writes what a run tells into its folder."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

from traintime.clock.eta import Clock, Eta
from traintime.errors import StorageError
from traintime.ledger.record_file import RecordFile
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe
from traintime.train.records import Change, EpochRecord, Event, Observer, Start, StepRecord


class Recorder(Observer):
    """Keeps step, epoch and ETA records, commands and faults.

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
        self._forget_after(start)
        self._folder.forget_after("eta", "elapsed_s", start.resumed_at_s)
        self._add_eta()

    def on_rollback(self, start: Start) -> None:
        """Drop what was undone; from a full disk when the run is resumed."""
        with suppress(StorageError):
            for name in ("steps", "epochs"):
                self._close(name)
            self._forget_after(start)

    def _forget_after(self, start: Start) -> None:
        self._folder.forget_after("steps", "step", start.first_step)
        # Not by step: a checkpoint of an epoch's last step stands before its validation.
        self._folder.forget_after("epochs", "epoch", start.first_epoch)

    def on_steps(self, record: StepRecord) -> None:
        """Keep a step record and the ETA after it."""
        self._add("steps", record)
        self._add_eta()

    def on_epoch(self, record: EpochRecord) -> None:
        """Keep an epoch record and the ETA after it."""
        self._add("epochs", record)
        self._add_eta()

    def on_change(self, change: Change, recipe: Recipe) -> None:
        """Keep what a command did, before the command is removed."""
        self._add("changes", change)
        if self._files["changes"].error is None:  # a full disk gets it later
            with suppress(StorageError):
                self._close("changes")

    def on_event(self, event: Event) -> None:
        """Keep a fault that was survived."""
        self._add("events", event)

    def close(self) -> None:
        """Write through to the disk, however training ended."""
        for name in tuple(self._files):
            self._close(name)

    def _add(self, name: str, record: StepRecord | EpochRecord | Change | Event | Eta) -> None:
        if name not in self._files:
            self._files[name] = RecordFile(self._folder.path / f"{name}.jsonl")
        self._files[name].add(dataclasses.asdict(record))

    def _close(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file:
            file.close()

    def _add_eta(self) -> None:
        eta = self._clock.eta
        if eta is not self._last_eta:  # the clock does not work it out anew each time
            self._last_eta = eta
            self._add("eta", eta)
