"""Keep freed memory instead of giving it back to the system after every step.

glibc returns large blocks to the kernel as soon as they are freed, so each step of a training loop
on a CPU faults all its activations in again, page by page. `benchmarks/busy_machine.py` measures
what keeping them brings. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
LARGEST = 2**31 - 1
THRESHOLDS = (2**30, 2**25)  # the second is the most that older versions take


def keep_freed_memory() -> bool:
    """Raise the sizes above which glibc gives memory back; say whether that was possible."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    if not any(libc.mallopt(M_MMAP_THRESHOLD, threshold) for threshold in THRESHOLDS):
        return (
            False  # the other one alone would freeze the threshold where it is: worse than before
        )
    return bool(libc.mallopt(M_TRIM_THRESHOLD, LARGEST))
