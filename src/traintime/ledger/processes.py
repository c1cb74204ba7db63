"""What tells one process from all others, of any time and any machine; and the system's locks."""

from __future__ import annotations

import errno
import platform
import sys
import time
from pathlib import Path

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that cannot lock."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool:
    """Lock a file until its descriptor is closed, or this process ends, however it ends.

    Returns:
        Whether it is locked now; if not, another descriptor holds it.

    Raises:
        NotImplementedError: The file system has no locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise NotImplementedError from None
        return False
    return True


def where_pids_count() -> str:
    """Return where a process number means something: this boot of the kernel, and its namespace.

    A container has numbers of its own; where there is neither, it is the machine.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return platform.node()


def birth_of(pid: int) -> str | None:
    """Return what a living process differs in from others that had or will have its number.

    On Linux these are the kernel's ticks since boot: the time of day, that psutil makes of them,
    moves with the clock. A process that has ended and that its parent has not yet noticed has none.
    """
    if not Path("/proc/self/stat").exists():
        return _birth_elsewhere(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def _birth_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        is_gone = process.status() == psutil.STATUS_ZOMBIE
        return None if is_gone else str(round(process.create_time()))
    except psutil.Error:
        return None


def seconds_since_boot() -> float:
    """Return how long this machine has been up; infinite where that is not known."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return float("inf") if clock is None else time.clock_gettime(clock)
