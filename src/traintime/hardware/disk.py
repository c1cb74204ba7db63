"""How fast the disk that data sets are cached on can be read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter

from traintime.ledger.atomic import refused_writes_explained

TRIAL_BYTES = 32 * 2**20


def reading_speed(folder: Path) -> float:
    """Return bytes per second of reading a file that is not in memory, where that can be had.

    Args:
        folder: On the disk in question; made if it is not there.

    Raises:
        StorageError: The disk refused the trial file.
    """
    with refused_writes_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(os.urandom(2**20) * (TRIAL_BYTES // 2**20))
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            began = perf_counter()
            while file.read(2**20):
                pass
            return TRIAL_BYTES / max(perf_counter() - began, 1e-6)
