"""Batches gathered ahead of the step by processes of their own, into memory that they share.

Each process has a thread here that hands it one batch after the other and hears when it is there.
As many batches are begun ahead as there are slots, and no more. A process that ends is replaced;
when that does not help, whoever waits for its batch is told. Nobody waits for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from traintime.data.draw import Rows
from traintime.data.formats import Bytes
from traintime.data.gather import Gatherer, StandIn, Tell, Waiting
from traintime.data.gather_process import SharedArray, Worker
from traintime.data.image_reader import ReadBatch
from traintime.data.image_store import ImageStore
from traintime.data.input_plan import num_slots
from traintime.errors import DataUnavailableError

MOST_ENDS = 3
"""Times in a row that processes may end over one batch."""


@dataclass(eq=False)
class _Job:
    """A batch that is wanted.

    Args:
        rows: Of its images.
        slot: Where it goes.

    Attributes:
        read: What came of it, once it is there.
        error: Why it cannot be had.
        is_forgotten: Whether nobody wants it any more.
    """

    rows: Rows
    slot: int
    read: ReadBatch | None = None
    error: str = ""
    is_forgotten: bool = False

    @property
    def is_done(self) -> bool:
        return self.read is not None or bool(self.error)


class GatherAhead(Gatherer):
    """Gathers batches ahead.

    Args:
        store: The images.
        batch_size: Of the largest batch.
        workers: Processes.
        tell: Told of faults that were survived.
        stand_in: Decides what becomes of images that cannot be read.
        waiting: Entered while a batch is waited for.
    """

    def __init__(
        self,
        store: ImageStore,
        batch_size: int,
        workers: int,
        tell: Tell,
        stand_in: StandIn,
        waiting: Waiting,
    ) -> None:
        super().__init__(store, tell, stand_in, waiting)
        self._memory = SharedArray((num_slots(workers), batch_size, *store.shape))
        self._free = list(range(num_slots(workers)))
        self._batches: Sequence[Rows] = ()
        self._jobs: dict[int, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._workers: set[Worker] = set()
        self._starting = threading.Lock()
        self._faults: deque[str] = deque()
        self._is_closed = False
        self._broken = ""
        for number in range(workers):
            name = f"traintime-gather-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    # In the thread that wants batches

    def plan(self, batches: Sequence[Rows]) -> None:
        """Take up which batches will be wanted; none is begun before the first is asked for."""
        with self._changed:
            self._forget(list(self._jobs))
            self._batches = batches

    def gathered(self, i: int) -> tuple[Bytes, ReadBatch, Rows]:
        """Return batch `i` of the plan, what came of reading it, and its rows."""
        with self._changed:
            self._begin_from(i)
            while i not in self._jobs:  # until a batch that nobody wants any more leaves its slot
                self._wait()
                self._begin_from(i)
            job = self._jobs[i]
            while not job.is_done:
                self._wait()
        if job.read is None:
            raise DataUnavailableError(job.error)
        return self._memory.array[job.slot, : len(job.rows)], job.read, job.rows

    def _wait(self) -> None:
        if self._broken:
            raise DataUnavailableError(self._broken)
        self._changed.wait()

    def _begin_from(self, i: int) -> None:
        end = min(i + self._memory.array.shape[0], len(self._batches))
        self._forget([k for k in self._jobs if not i <= k < end])
        for k in range(i, end):
            if k not in self._jobs and self._free:
                job = _Job(self.readable(self._batches[k]), self._free.pop())
                self._jobs[k] = job
                self._queue.append(job)
        self._changed.notify_all()

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            job = self._jobs.pop(number)
            if job in self._queue:
                self._queue.remove(job)
            elif not job.is_done:
                job.is_forgotten = True  # its slot is free when it is filled
                continue
            self._free.append(job.slot)

    def pids(self) -> list[int]:
        """Return the processes that gather batches."""
        return [worker.pid for worker in list(self._workers) if worker.pid]

    def faults(self) -> list[str]:
        """Return what was survived since they were asked for last."""
        return [self._faults.popleft() for _ in range(len(self._faults))]

    def close(self) -> None:
        """End the processes at once: nothing that they hold matters."""
        with self._starting:  # none comes after these, and would open what is no longer there
            self._is_closed = True
        for worker in list(self._workers):
            worker.end()
        # A signal may have left the lock taken; the threads end with this process at the latest.
        if self._changed.acquire(timeout=0.1):
            self._changed.notify_all()
            self._changed.release()
        self._memory.close()
        super().close()

    # In the thread of a process

    def _serve(self) -> None:
        try:
            worker = self._start()
            while job := self._next():
                worker = self._fill(job, worker)
        except Exception as error:  # or the run would wait for ever for what this thread had taken
            with self._changed:
                self._broken = f"Batches cannot be gathered: {error}"
                self._changed.notify_all()

    def _fill(self, job: _Job, worker: Worker) -> Worker:
        """Let a process fill a batch's slot, or others in its place; return the one that lives."""
        wanted, ends = self.store.wanted(job.rows), 0
        while (read := worker.fill(job.slot, wanted)) is None and not self._is_closed:
            pid, how, ends = worker.pid, worker.ended(), ends + 1
            self._workers.discard(worker)
            worker = self._start()
            if ends == MOST_ENDS:
                self._finish(job, None, self._given_up(job, how))
                return worker
            self._faults.append(
                f"A process that gathers batches (pid {pid}) ended ({how}); another one took its "
                "place"
            )
        self._finish(job, read)
        return worker

    def _given_up(self, job: _Job, how: str) -> str:
        first = self.store.names[int(job.rows[0])]
        return (
            f"{MOST_ENDS} processes that gather batches ended one after the other ({how}), all "
            f"of them at the batch that begins with '{first}'. The system may have ended them for "
            "lack of memory (see it with: dmesg | tail), or one of the batch's images breaks the "
            "program that decodes it"
        )

    def _start(self) -> Worker:
        array = self.store.known.array
        setup = {
            "memory": self._memory.path,
            "shape": self._memory.array.shape,
            "array": str(array) if array else None,
        }
        with self._starting:
            if self._is_closed:
                raise DataUnavailableError("the run is over")
            worker = Worker(setup)
            self._workers.add(worker)
        return worker

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._queue:
                if self._is_closed:
                    return None
                self._changed.wait()
            return None if self._is_closed else self._queue.popleft()

    def _finish(self, job: _Job, read: ReadBatch | None, error: str = "") -> None:
        with self._changed:
            job.read, job.error = read, error
            if job.is_forgotten:
                self._free.append(job.slot)
            self._changed.notify_all()
