"""Batches of images that are not in memory: gathered when they are wanted, or ahead of that.

A batch depends on its rows alone, so who gathers it, when, and in which order changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from traintime.data.draw import Rows
from traintime.data.formats import Bytes
from traintime.data.image_reader import ImageReader, ReadBatch
from traintime.data.image_store import ImageStore
from traintime.errors import DataUnavailableError, InputError

Tell = Callable[[str, str], None]
"""Called with kind and message when a fault was survived."""
StandIn = Callable[[int, str], int]
"""Returns the row that stands in for one that cannot be read, given what is wrong with it."""
Waiting = Callable[[], AbstractContextManager[None]]
"""Entered while a batch is waited for, which may take long: a signal is to end it."""


class Gatherer(ABC):
    """Gathers the batches of a plan.

    Args:
        store: The images.
        tell: Told of faults that were survived.
        stand_in: Decides what becomes of images that cannot be read.
        waiting: Entered while a batch is waited for.
    """

    def __init__(self, store: ImageStore, tell: Tell, stand_in: StandIn, waiting: Waiting) -> None:
        self.store, self._waiting = store, waiting
        self._tell, self._stand_in = tell, stand_in
        self._reader = ImageReader(store.known.array, store.side)
        self._stand_ins: dict[int, int] = {}
        self._mended, self._tell_at = 0, 1

    @abstractmethod
    def plan(self, batches: Sequence[Rows]) -> None:
        """Take up which batches will be wanted, about in this order; forget earlier ones."""

    @abstractmethod
    def gathered(self, i: int) -> tuple[Bytes, ReadBatch, Rows]:
        """Return batch `i` of the plan, what came of reading it, and its rows."""

    def close(self) -> None:
        """End all that works on batches."""
        self._reader.close()

    def pids(self) -> list[int]:
        """Return the processes that gather batches."""
        return []

    def faults(self) -> list[str]:
        """Return what was survived since they were asked for last."""
        return []

    def batch(self, i: int) -> Bytes:
        """Return batch `i` of the plan, uint8, (B, H, W, C); it holds until the next is asked for.

        Raises:
            DataUnavailableError: It cannot be gathered, or more images cannot be read than the
                recipe allows.
        """
        with self._waiting():
            images, read, rows = self.gathered(i)
        for fault in self.faults():
            self._tell("input worker", fault)
        self._count_mended(read.mended)
        for place in read.unreadable:
            self._read_again(images[place : place + 1], int(rows[place]))
        return images

    def readable(self, rows: Rows) -> Rows:
        """Return rows with those in place that stand in for others."""
        if not self._stand_ins:
            return rows
        return np.array([self._readable(int(row)) for row in rows], np.int64)

    def _readable(self, row: int) -> int:
        while row in self._stand_ins:
            row = self._stand_ins[row]
        return row

    def _read_again(self, image: Bytes, row: int) -> None:
        """Read an image once more, as a disk may have been late, or another one in its place."""
        while why := self._reader.read(self.store.wanted([row]), image).unreadable.get(0):
            if row not in self._stand_ins:
                self._stand_ins[row] = self._other(row, why)
            row = self._readable(row)

    def _other(self, row: int, why: str) -> int:
        try:
            other = self._stand_in(row, why)
        except InputError as error:
            raise DataUnavailableError(str(error)) from error
        if self._readable(other) == row:
            raise DataUnavailableError(f"{self.store.names[row]} {why}, and no other is left")
        return other

    def _count_mended(self, count: int) -> None:
        self._mended += count
        if self._mended >= self._tell_at:
            self._tell_at = 10 * self._mended
            self._tell(
                "damaged copy",
                f"Of the copy that is kept of the images {self._mended:,} were damaged; they were "
                "read again from their files, and put back",
            )


class GatherHere(Gatherer):
    """Gathers each batch when it is wanted, in this process."""

    def plan(self, batches: Sequence[Rows]) -> None:
        """Take up which batches will be wanted."""
        self._batches = batches

    def gathered(self, i: int) -> tuple[Bytes, ReadBatch, Rows]:
        """Return batch `i` of the plan, what came of reading it, and its rows."""
        rows = self.readable(self._batches[i])
        images = np.empty((len(rows), *self.store.shape), np.uint8)
        return images, self._reader.read(self.store.wanted(rows), images), rows
