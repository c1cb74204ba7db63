"""Writes what a run uses of its machine into its folder, from a thread of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import closing
from threading import Event, Thread
from time import perf_counter

import psutil

from traintime.errors import StorageError
from traintime.hardware.usage import UsageMeter
from traintime.ledger.record_file import RecordFile
from traintime.ledger.run_folder import RunFolder
from traintime.train.records import Observer, Start

EVERY_S = 2.0
PATIENCE_S = 1.0


class UsageRecorder(Observer):
    """Keeps a sample every two seconds while a run trains: usage.jsonl.

    The training thread is not held up, and nothing that goes wrong here ends a run.

    Args:
        folder: Where to.
        device: That the run computes on: "cpu" or "cuda:N".
        every_s: Seconds between samples.
        workers: Returns the processes that gather batches for the run.
    """

    def __init__(
        self,
        folder: RunFolder,
        device: str,
        every_s: float = EVERY_S,
        workers: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self._folder, self._device, self._every_s = folder, device, every_s
        self._workers = workers
        self._is_over = Event()
        self._thread: Thread | None = None

    def on_start(self, start: Start) -> None:
        """Drop what a crash left beyond the checkpoint that is resumed from, and begin."""
        began_at = perf_counter() - start.elapsed_s
        self._thread = Thread(
            target=self._record,
            args=(began_at, start.resumed_at_s),
            name="traintime-usage",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Stop, however training ended."""
        self._is_over.set()
        if self._thread:
            self._thread.join(PATIENCE_S)  # what it waits for may hang, and nobody needs it

    def _record(self, began_at: float, resumed_at_s: float) -> None:
        try:
            self._folder.forget_after("usage", "elapsed_s", resumed_at_s)
            meter = UsageMeter(self._folder.path, self._device, workers=self._workers)
            with closing(RecordFile(self._folder.path / "usage.jsonl")) as file:
                while not self._is_over.wait(self._every_s):
                    usage = dataclasses.asdict(meter.sample())
                    file.add({"elapsed_s": round(perf_counter() - began_at, 3), **usage})
        except (OSError, StorageError, psutil.Error):
            return  # a disk that is full is told of by what has to be written
