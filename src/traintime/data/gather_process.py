"""A process that gathers batches, as the run sees it, and the memory that they share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from traintime.data.formats import Bytes
from traintime.data.image_reader import ReadBatch

WORKER = "traintime.data.gather_worker"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LAST_BREATH_S = 1.0
"""A process whose pipe has ended ends within."""
LAST_WORDS = 2000
"""Bytes of what a process said last that are looked at."""


class Worker:
    """A process that gathers one batch at a time.

    It is no fork: torch's threads and a GPU's state do not survive one. Nor is it of
    `multiprocessing`, whose processes import the main module anew, whatever that does.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        self._process: subprocess.Popen[str] | None = None
        with suppress(OSError):  # no room for one more process: as if it had ended
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-W", "ignore", "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,  # Ctrl-C is for the run, which ends it
            )
            self._send(setup)

    @property
    def pid(self) -> int:
        """Of the process; 0 if it could not be started."""
        return self._process.pid if self._process else 0

    def fill(self, slot: int, wanted: Sequence[Any]) -> ReadBatch | None:
        """Let it gather a batch; return what came of that, or None if the process is gone."""
        if self._process is None or self._process.stdout is None:
            return None
        try:
            self._send({"slot": slot, "wanted": wanted})
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return None
        unreadable = {int(place): why for place, why in answer["unreadable"].items()}
        return ReadBatch(unreadable, answer["mended"])

    def _send(self, values: dict[str, Any]) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(values) + "\n")
        self._process.stdin.flush()

    def ended(self) -> str:
        """Say how it ended, once it has; end it if it does not."""
        if self._process is None:
            return "it could not be started"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_BREATH_S)
        self._process.kill()
        code, words = self._process.wait(), self._last_words()
        self.end()
        return f"by signal {-code}, {signal.Signals(-code).name}" if code < 0 else words

    def end(self) -> None:
        """End it at once."""
        pipes: list[IO[Any] | None] = [self._errors]
        if self._process:
            self._process.kill()
            self._process.wait()
            pipes += [self._process.stdin, self._process.stdout]
        for pipe in filter(None, pipes):
            with suppress(OSError, ValueError):  # what is left in them nobody reads
                pipe.close()

    def _last_words(self) -> str:
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - LAST_WORDS))
        lines = self._errors.read().decode(errors="replace").splitlines()
        return f"in an error: {lines[-1]}" if lines else "without a word"


@dataclass
class SharedArray:
    """An array that other processes of this user can open by a path.

    Args:
        shape: Its shape; it is uint8.
    """

    shape: tuple[int, ...]
    path: str = field(init=False)
    array: Bytes = field(init=False)

    def __post_init__(self) -> None:
        if hasattr(os, "memfd_create"):  # not /dev/shm, of which containers have 64 MiB
            self._descriptor = os.memfd_create("traintime-batches")
            os.posix_fallocate(self._descriptor, 0, prod(self.shape))  # an error now, not a crash
            self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        else:
            self._descriptor, self.path = tempfile.mkstemp(prefix="traintime-batches-")
            os.truncate(self.path, prod(self.shape))
        self.array = np.asarray(np.memmap(self.path, np.uint8, "r+", shape=self.shape))

    def close(self) -> None:
        """Let go of it; the memory is free when nobody has it open."""
        os.close(self._descriptor)
        if not self.path.startswith("/proc/"):
            with suppress(OSError):
                Path(self.path).unlink()
