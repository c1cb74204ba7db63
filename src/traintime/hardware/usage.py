"""What a process uses of its machine at one moment: processor, memory, disk and GPU.

`psutil` tells of the process; limits of its memory that a container or a batch system sets are read
from the control group. NVIDIA's own tool tells of the GPU, which needs no package and no torch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")
SMI_TIMEOUT_S = 5.0
MOST_FAILURES = 3
"""Answers that a GPU's tool may owe in a row before it is asked no more."""


@dataclass(frozen=True)
class Usage:
    """What is used at one moment; None where the system does not tell.

    Args:
        cpu: Share of the cores that the process may use which it and its workers keep busy.
        others_cpu: Share of the whole machine's cores that everything else keeps busy.
        rss_bytes: Main memory of the process.
        available_bytes: Main memory that it can still take.
        limit_bytes: Main memory that it may use, itself and others of its container together.
        read_bytes_per_s: From disks.
        written_bytes_per_s: To disks.
        disk_free_bytes: Where the run is kept.
        gpu: Share of the time in which the GPU computed something.
        gpu_memory_bytes: Memory of the GPU in use.
        gpu_limit_bytes: Memory of the GPU.
    """

    cpu: float
    others_cpu: float
    rss_bytes: int
    available_bytes: int
    limit_bytes: int
    read_bytes_per_s: float | None
    written_bytes_per_s: float | None
    disk_free_bytes: int
    gpu: float | None = None
    gpu_memory_bytes: int | None = None
    gpu_limit_bytes: int | None = None


class UsageMeter:
    """Samples a process; rates are means since the sample before.

    Args:
        disk: A folder on the disk whose free space counts.
        device: That the process computes on: "cpu" or "cuda:N".
        pid: The process; None is this one.
        workers: Returns the processes that work for it: their time on the processor is its own.
    """

    def __init__(
        self,
        disk: Path,
        device: str = "cpu",
        pid: int | None = None,
        workers: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self._disk, self._workers = disk, workers
        self._process = psutil.Process(pid)
        self._gpu = _NvidiaGpu(_gpu_name(device)) if device.startswith("cuda") else None
        self._cores = _usable_cores(self._process)
        self._all_cores = psutil.cpu_count() or 1
        self._seen_at = perf_counter()
        self._cpu_s, self._machine_busy_s = self._process_cpu_s(), _machine_busy_s()
        self._disk_bytes = self._read_and_written()

    def sample(self) -> Usage:
        """Return what is used now.

        Raises:
            psutil.Error: The process is gone.
            OSError: The disk is.
        """
        now = perf_counter()
        passed_s = max(now - self._seen_at, 1e-3)
        cpu_s, busy_s, moved = self._process_cpu_s(), _machine_busy_s(), self._read_and_written()
        own = (cpu_s - self._cpu_s) / passed_s
        others = (busy_s - self._machine_busy_s) / passed_s - own
        read, written = _rates(self._disk_bytes, moved, passed_s)
        self._seen_at, self._cpu_s, self._machine_busy_s = now, cpu_s, busy_s
        self._disk_bytes = moved
        available, limit = memory_left(self._process.pid)
        gpu, gpu_memory, gpu_limit = self._gpu.ask() if self._gpu else (None, None, None)
        return Usage(
            cpu=_share(own / self._cores),
            others_cpu=_share(others / self._all_cores),
            rss_bytes=self._process.memory_info().rss,
            available_bytes=available,
            limit_bytes=limit,
            read_bytes_per_s=read,
            written_bytes_per_s=written,
            disk_free_bytes=shutil.disk_usage(self._disk).free,
            gpu=gpu,
            gpu_memory_bytes=gpu_memory,
            gpu_limit_bytes=gpu_limit,
        )

    def _process_cpu_s(self) -> float:
        seconds = _cpu_s(self._process)
        for pid in self._workers():
            with suppress(psutil.Error):  # it has ended meanwhile
                seconds += _cpu_s(psutil.Process(pid))
        return seconds

    def _read_and_written(self) -> tuple[int, int] | None:
        try:
            counted = self._process.io_counters()
        except (AttributeError, psutil.AccessDenied, NotImplementedError):  # not on a Mac
            return None
        return counted.read_bytes, counted.write_bytes


def memory_left(pid: int, root: Path = CGROUP_ROOT) -> tuple[int, int]:
    """Return the bytes of main memory that a process can still take, and may use in all.

    Whatever is scarcest counts: the machine's memory, or the limit of a control group that the
    process is in, or of one around that.

    Args:
        pid: The process.
        root: Where control groups are mounted.
    """
    memory = psutil.virtual_memory()
    scarcest = (memory.available, memory.total)
    for folder in _groups(pid, root):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is None or used is None or limit > memory.total:
            continue
        # Cached files count as used, and are dropped when memory is asked for.
        left = limit - max(0, used - _inactive_file_bytes(folder))
        if left < scarcest[0]:
            scarcest = (max(0, left), limit)
    return scarcest


def _groups(pid: int, root: Path) -> Iterable[Path]:
    """Yield the folders of a process's control groups, from its own to the outermost."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        inner = top / name.lstrip("/")
        yield from (inner, *(folder for folder in inner.parents if folder.is_relative_to(top)))


def _inactive_file_bytes(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(fields.get("inactive_file", 0))


def _number(path: Path) -> int | None:
    """Return the number that a file holds; None if it is not there, or says "max"."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _usable_cores(process: psutil.Process) -> int:
    try:
        return len(process.cpu_affinity() or ()) or 1
    except (AttributeError, psutil.Error):  # not on a Mac
        return psutil.cpu_count() or 1


def _machine_busy_s() -> float:
    """Return the seconds that all cores together have been busy since the machine started."""
    times = psutil.cpu_times()
    # What a guest takes is part of "user" already; "steal" is what other guests took from us.
    idle = times.idle + getattr(times, "iowait", 0.0)
    counted_twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return sum(times) - idle - counted_twice


def _rates(
    before: tuple[int, int] | None, now: tuple[int, int] | None, passed_s: float
) -> tuple[float | None, float | None]:
    if before is None or now is None:
        return None, None
    return (now[0] - before[0]) / passed_s, (now[1] - before[1]) / passed_s


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)


def _gpu_name(device: str) -> str:
    """Return how `nvidia-smi` calls the GPU that CUDA calls cuda:N in this process."""
    number = int(device.partition(":")[2] or 0)
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return visible[number] if number < len(visible) and visible[number] else str(number)


class _NvidiaGpu:
    """Asks NVIDIA's tool about one GPU; gives up on a tool that does not answer."""

    def __init__(self, name: str) -> None:
        tool = shutil.which("nvidia-smi")
        query = "--query-gpu=utilization.gpu,memory.used,memory.total"
        self._command = [tool, "-i", name, query, "--format=csv,noheader,nounits"] if tool else []
        self._failures = 0

    def ask(self) -> tuple[float | None, int | None, int | None]:
        """Return share of the time in use, bytes in use, and bytes there are."""
        if not self._command or self._failures >= MOST_FAILURES:
            return None, None, None
        try:
            answer = subprocess.run(  # noqa: S603
                self._command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True
            )
            busy, used, total = (word.strip() for word in answer.stdout.splitlines()[0].split(","))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            self._failures += 1
            return None, None, None
        self._failures = 0
        return (
            int(busy) / 100 if busy.isdigit() else None,  # parts of a GPU answer [N/A]
            int(used) * 2**20 if used.isdigit() else None,
            int(total) * 2**20 if total.isdigit() else None,
        )
