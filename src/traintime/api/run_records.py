"""The records of a run, taken up as they come; what a look costs does not grow with the run."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from traintime.clock.eta import Eta
from traintime.clock.run_state import Curves, Record
from traintime.clock.thinned import Thinned
from traintime.ledger.record_tail import RecordTail
from traintime.units import Interval

RECENT_STEPS, RECENT_EPOCHS, RECENT_NOTES = 256, 100, 100
STEP_KEYS = ("step", "epoch", "loss", "lr", "samples_per_s", "elapsed_s", "step_time_s")
EPOCH_KEYS = (
    "epoch",
    "step",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "elapsed_s",
)
USAGE_KEYS = (
    "elapsed_s",
    "cpu",
    "others_cpu",
    "rss_bytes",
    "available_bytes",
    "limit_bytes",
    "disk_free_bytes",
)
STEP_CURVES = ("train_loss", "lr", "samples_per_s", "step_time_s")
EPOCH_CURVES = ("validation_loss", "validation_accuracy")
USAGE_CURVES = ("cpu", "rss_bytes", "gpu", "disk_bytes_per_s")


class RunRecords:
    """Everything that the `.jsonl` files of a run folder say.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._training = TrainingRecords(folder)
        self._eta = RecordTail(folder / "eta.jsonl", ("elapsed_s", "finish_s"))
        self._usage = RecordTail(folder / "usage.jsonl", USAGE_KEYS)
        self._usage_curves = _curves(USAGE_CURVES)
        self._changes = RecordTail(folder / "changes.jsonl", ("verb", "step"))
        self._events = RecordTail(folder / "events.jsonl")
        self.eta: Eta | None = None
        self.usage: Record | None = None
        self.changes: list[Record] = []
        self.events: deque[Record] = deque(maxlen=RECENT_NOTES)

    @property
    def training(self) -> TrainingRecords:
        """Steps and validations."""
        return self._training

    def read(self) -> bool:
        """Take up what is new, and say whether the training said anything."""
        spoke = self._training.read()
        estimates = self._eta.read().records
        if estimates:
            self.eta = _eta(estimates[-1])
        self._read_usage()
        for tail, kept in ((self._changes, self.changes), (self._events, self.events)):
            records, is_anew = tail.read()
            if is_anew:
                kept.clear()
            kept.extend(records)
        return spoke or bool(estimates)

    def _read_usage(self) -> None:
        records, is_anew = self._usage.read()
        if is_anew:
            self._usage_curves = _curves(USAGE_CURVES)
        for record in records:
            read, written = record.get("read_bytes_per_s"), record.get("written_bytes_per_s")
            moved = None if read is None or written is None else read + written
            _add(self._usage_curves, {**record, "disk_bytes_per_s": moved}, "elapsed_s")
            self.usage = record

    def curves(self) -> Curves:
        """Return how the run went."""
        known = self._training.curves | self._usage_curves
        return Curves(**{name: curve.points() for name, curve in known.items()})


class TrainingRecords:
    """Steps and validations, and what the time was spent on.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._steps = RecordTail(folder / "steps.jsonl", STEP_KEYS)
        self._epochs = RecordTail(folder / "epochs.jsonl", EPOCH_KEYS)
        self._forget()

    def _forget(self) -> None:
        self.curves = _curves(STEP_CURVES + EPOCH_CURVES)
        self.recent_steps: deque[Record] = deque(maxlen=RECENT_STEPS)
        self.recent_epochs: deque[Record] = deque(maxlen=RECENT_EPOCHS)
        self.best_epoch: Record | None = None
        self.longest_gap_s = 0.0
        self.seconds = {"prepare": 0.0, "train": 0.0, "validate": 0.0}

    def read(self) -> bool:
        """Take up what is new, and say whether there was anything."""
        # Validations first: then the steps before each of them are there when these are read.
        epochs, epochs_anew = self._epochs.read()
        steps, steps_anew = self._steps.read()
        if (epochs_anew or steps_anew) and self.recent_steps:
            self._start_over()
            return True
        marked = [(float(r["elapsed_s"]), 0, r) for r in steps]
        marked_epochs = [(float(r["elapsed_s"]), 1, r) for r in epochs]
        for _, is_epoch, record in heapq.merge(marked, marked_epochs, key=lambda m: m[:2]):
            self._add_epoch(record) if is_epoch else self._add_steps(record)
        return bool(marked or marked_epochs)

    def _start_over(self) -> None:
        """Read all again: a run that was resumed has forgotten what came after its checkpoint."""
        self._forget()
        self._steps.rewind()
        self._epochs.rewind()
        self.read()

    def _add_steps(self, record: Record) -> None:
        elapsed_s, step_s = float(record["elapsed_s"]), float(record.get("step_time_s") or 0.0)
        if self.recent_steps:
            last = self.recent_steps[-1]
            self.longest_gap_s = max(self.longest_gap_s, elapsed_s - float(last["elapsed_s"]))
            self.seconds["train"] += (record["step"] - last["step"]) * step_s
        else:
            self.seconds["train"] = record["step"] * step_s
            self.seconds["prepare"] = max(0.0, elapsed_s - self.seconds["train"])
        _add(self.curves, {**record, "train_loss": record["loss"]}, "epoch")
        self.recent_steps.append(record)

    def _add_epoch(self, record: Record) -> None:
        elapsed_s = float(record["elapsed_s"])
        # Steps after the validation may have been read before it.
        times = (float(step["elapsed_s"]) for step in reversed(self.recent_steps))
        began_s = next((time_s for time_s in times if time_s <= elapsed_s), elapsed_s)
        self.seconds["validate"] += elapsed_s - began_s
        _add({name: self.curves[name] for name in EPOCH_CURVES}, record, "epoch")
        if (
            self.best_epoch is None
            or record["validation_loss"] < self.best_epoch["validation_loss"]
        ):
            self.best_epoch = record
        self.recent_epochs.append(record)

    def phases_s(self, elapsed_s: float) -> dict[str, float]:
        """Return what the time was spent on; "the rest" is mostly saving."""
        rest = max(0.0, elapsed_s - sum(self.seconds.values()))
        return {**self.seconds, "the rest": rest}


def _curves(names: Iterable[str]) -> dict[str, Thinned]:
    return {name: Thinned() for name in names}


def _add(curves: dict[str, Thinned], record: Record, x: str) -> None:
    for name, curve in curves.items():
        if name in record:
            curve.add(record[x], record[name])


def _eta(record: Record) -> Eta:
    """Return an estimate as it was recorded."""
    intervals = {
        key: Interval(**record[key]) if record.get(key) else None for key in ("target_s", "final")
    }
    return Eta(
        elapsed_s=record["elapsed_s"],
        finish_s=Interval(**record["finish_s"]),
        chance_of_target=record.get("chance_of_target"),
        **intervals,
    )


def is_paused(changes: Iterable[Record], process: Record) -> bool:
    """Return whether the last word to this process was to pause; one to another has passed."""
    words = [change for change in changes if change["verb"] in ("pause", "continue")]
    if not words or words[-1]["verb"] != "pause":
        return False
    given, since = words[-1].get("at"), process.get("since")
    if not given or not since:
        return True
    return datetime.fromisoformat(given) >= datetime.fromisoformat(since)
