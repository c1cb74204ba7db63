"""Who else wants the processor: how long this process was kept waiting, and by whom."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import psutil

WAITING = Path("/proc/thread-self/schedstat")
"""Linux: nanoseconds that this thread ran, that it was ready and waited, and its turns."""
OFTEN = 0.05
"""Of a core: what uses less is not named."""


@dataclass(frozen=True)
class Contention:
    """What happened on the processor while something was measured.

    Args:
        wall_s: How long that took.
        own_cpu_s: Processor seconds of this process, all its threads together.
        waited_s: Seconds that the calling thread was ready to run and did not get a core; None
            where the system does not tell.
        load: Mean number of processes that ran or waited in the last minute.
        busiest: The other process that used most, in words; empty if none used much.
        busiest_cores: How many cores that kept busy.
    """

    wall_s: float
    own_cpu_s: float
    waited_s: float | None
    load: float
    busiest: str = ""
    busiest_cores: float = 0.0

    @property
    def waited_share(self) -> float:
        """Share of the time that was lost to other processes, as far as the system tells."""
        return min(1.0, (self.waited_s or 0.0) / max(self.wall_s, 1e-9))

    @property
    def cores_used(self) -> float:
        """How many cores this process kept busy."""
        return self.own_cpu_s / max(self.wall_s, 1e-9)


class ContentionWatch:
    """Fills in a `Contention` when its block is left."""

    def __init__(self) -> None:
        self.seen = Contention(0.0, 0.0, None, 0.0)


@contextlib.contextmanager
def watch_contention() -> Generator[ContentionWatch]:
    """Watch the processor during a block of the calling thread."""
    watch = ContentionWatch()
    others = _cpu_seconds()
    waited, began, cpu = _waited_s(), perf_counter(), process_time()
    yield watch
    wall_s, cpu_s, waited_after = perf_counter() - began, process_time() - cpu, _waited_s()
    name, cores = _busiest(others, wall_s)
    watch.seen = Contention(
        wall_s=wall_s,
        own_cpu_s=cpu_s,
        waited_s=None if waited is None or waited_after is None else waited_after - waited,
        load=psutil.getloadavg()[0],
        busiest=name,
        busiest_cores=cores,
    )


def _waited_s() -> float | None:
    try:
        return int(WAITING.read_text().split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):
        return None


def _cpu_seconds() -> dict[int, float]:
    """Return the processor seconds of every other process so far."""
    seconds: dict[int, float] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    seconds.pop(os.getpid(), None)
    return seconds


def _busiest(before: dict[int, float], wall_s: float) -> tuple[str, float]:
    used = {pid: s - before[pid] for pid, s in _cpu_seconds().items() if pid in before}
    pid = max(used, key=lambda pid: used[pid], default=0)
    cores = used.get(pid, 0.0) / max(wall_s, 1e-9)
    if cores < OFTEN:
        return "", 0.0
    name = "?"
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        name = "a worker of this run" if process.ppid() == os.getpid() else process.name()
    return f"process {pid} ({name})", cores
