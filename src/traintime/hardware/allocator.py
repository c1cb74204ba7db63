"""Keep freed memory instead of giving it back to the system after every step.

glibc returns large blocks to the kernel as soon as they are freed, so each step of a training loop
on a CPU faults all its activations in again, page by page. `benchmarks/busy_machine.py` measures
what keeping them brings. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
LARGEST = 2**31 - 1
THRESHOLDS = (2**30, 2**25)  # the second is the most that older versions take
MAPPED_UNDER_A_LIMIT = 2**20


def keep_freed_memory() -> bool:
    """Raise the sizes above which glibc gives memory back; say whether that was possible.

    Where the system limits what the process may map (`ulimit -v`, `ulimit -d`), it is the other way
    round: a heap counts as a whole until the end, however much of it is free, and only blocks that
    are mapped one by one can be given back when memory runs out.
    """
    if not is_glibc():
        return False
    libc = ctypes.CDLL(None)
    if is_mapping_limited():
        libc.mallopt(M_MMAP_THRESHOLD, MAPPED_UNDER_A_LIMIT)
        return False
    if not any(libc.mallopt(M_MMAP_THRESHOLD, threshold) for threshold in THRESHOLDS):
        return (
            False  # the other one alone would freeze the threshold where it is: worse than before
        )
    return bool(libc.mallopt(M_TRIM_THRESHOLD, LARGEST))


def is_mapping_limited() -> bool:
    """Say whether the system limits the memory that this process may map."""
    if resource is None:
        return False
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits)


def give_back_freed_memory() -> None:
    """Give the system what is free in glibc's heap."""
    if is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def start_peak_anew() -> bool:
    """Let the process's peak memory be that of what comes now; say whether that was possible.

    What ran before, such as measuring the machine, would otherwise count as the run's. Only Linux
    can do that.
    """
    give_back_freed_memory()
    # https://www.kernel.org/doc/html/latest/filesystems/proc.html: 5 resets the peak resident size.
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """Return the memory that the process holds now."""
    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int | None:
    """Return the most memory that the process held, since `start_peak_anew` where that works."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if IS_MAC else 1024)


IS_MAC = platform.system() == "Darwin"


def is_glibc() -> bool:
    """Say whether this process's memory is glibc's to hand out."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
