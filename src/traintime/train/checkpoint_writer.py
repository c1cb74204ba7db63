"""Writes checkpoints behind training: the training thread pays for a copy in memory, no more.

At most one checkpoint is being written at any time, into buffers that are used again, so a slow
disk delays checkpoints but neither training nor memory. A refusal of the disk is told to the
training thread, which decides what it means; nothing is raised where nobody waits.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time

import torch
from torch import Tensor

from traintime.errors import StorageError
from traintime.ledger.atomic import refused_writes_explained
from traintime.train.checkpoints import Checkpoint, newest_step, save_checkpoint
from traintime.train.out_of_memory import is_out_of_memory

CLOSE_TIMEOUT_S = 60.0
"""A disk that has not taken a checkpoint after this long is not waited for when a run ends."""


@dataclass
class _Writing:
    """A checkpoint on its way to the disk; `thread` is None where nothing runs behind."""

    step: int
    thread: threading.Thread | None = None
    cost_s: float = 0.0
    error: BaseException | None = None


class CheckpointWriter:
    """Writes the checkpoints of one run.

    The callbacks are called on the thread that calls `poll`, `submit`, `wait` or `close`.

    Args:
        folder: Where to; it is made.
        on_written: Told the step of each checkpoint that is on the disk for good.
        on_failed: Told the step and the reason of each one that the disk refused.
        background: Write in a thread of its own. Otherwise `submit` returns when all is done.

    Attributes:
        last_written: Step of the newest checkpoint that is on the disk, None if there is none.
        failures_in_a_row: Refusals since the last success.
        cost_s: What the last checkpoint took from training at most: the time of `submit`, without
            waiting for the one before, and the processor time of what was done behind it.

    Raises:
        StorageError: The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        on_written: Callable[[int], None],
        on_failed: Callable[[int, StorageError], None],
        background: bool = True,
    ) -> None:
        self._folder = folder
        self._on_written, self._on_failed = on_written, on_failed
        self._background = background
        self._buffers: dict[str, Tensor] = {}
        self._writing: _Writing | None = None
        with refused_writes_explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.last_written = newest_step(folder)
        self.failures_in_a_row = 0
        self.cost_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is still on its way to the disk."""
        writing = self._writing
        return writing is not None and writing.thread is not None and writing.thread.is_alive()

    @property
    def snapshot_bytes(self) -> int:
        """Memory that is held for the copies, beyond what training takes."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def submit(self, step: int, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint as it is now and write it behind.

        Waits for the one before it, if that is still being written: ask `is_busy` first where a
        checkpoint may as well come later.
        """
        self.wait()
        writing, began = _Writing(step), perf_counter()
        try:
            is_behind = self._background and self._start(writing, checkpoint)
        except (RuntimeError, MemoryError):  # no memory for the copy, or no thread to be had
            self._buffers, writing.thread, is_behind = {}, None, False
        if not is_behind:
            self._write(writing, checkpoint)
        self._writing = writing
        if not is_behind:
            self.poll()
        self.cost_s = perf_counter() - began

    def _start(self, writing: _Writing, checkpoint: Checkpoint) -> bool:
        """Begin to write a copy of a checkpoint as it is now."""
        held = Checkpoint(self._copy(checkpoint.tensors), copy.deepcopy(checkpoint.state))
        # A daemon: a disk that hangs must not keep the process from ending.
        writing.thread = threading.Thread(
            target=self._write, args=(writing, held), name="traintime-checkpoint", daemon=True
        )
        writing.thread.start()
        return True

    def poll(self) -> None:
        """Tell how the last checkpoint went, once it is known; costs next to nothing."""
        writing = self._writing
        if writing is None or self.is_busy:
            return
        self._writing = None
        self.cost_s += writing.cost_s
        if writing.error is None:
            self.last_written, self.failures_in_a_row = writing.step, 0
            self._on_written(writing.step)
            return
        error = writing.error
        if is_out_of_memory(error):
            self._buffers = {}
            error = StorageError("there was not enough memory to write it")
        if not isinstance(error, StorageError):
            raise error
        self.failures_in_a_row += 1
        self._on_failed(writing.step, error)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being written, and tell how it went.

        Args:
            timeout_s: Wait no longer than this; None waits for as long as it takes.

        Returns:
            Whether nothing is being written any more.
        """
        if self._writing and self._writing.thread:
            self._writing.thread.join(timeout_s)
        self.poll()
        return self._writing is None

    def close(self) -> None:
        """Wait for what is being written, within reason, and let the buffers go."""
        if self.wait(CLOSE_TIMEOUT_S):
            self._buffers = {}

    def _copy(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Copy tensors of any device into this process's memory, all as of now."""
        before, self._buffers = self._buffers, {}
        for name, tensor in tensors.items():
            buffer = before.get(name)
            if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
                # Pinned, a GPU writes into it at the full speed of the bus.
                buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[name] = buffer.copy_(tensor.detach(), non_blocking=True)
        for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        return self._buffers

    def _write(self, writing: _Writing, checkpoint: Checkpoint) -> None:
        try:
            # Without its parents: where a user deleted the run, half of one must not come back.
            with refused_writes_explained(self._folder):
                self._folder.mkdir(exist_ok=True)
            save_checkpoint(self._folder, writing.step, checkpoint)
        except BaseException as error:  # it is raised where the training thread asks
            writing.error = error
        if writing.thread:
            writing.cost_s = thread_time()
