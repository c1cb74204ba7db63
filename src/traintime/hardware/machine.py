"""What this machine has: processor, memory, disk and GPUs, without torch."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from traintime.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Machine:
    """What a machine has.

    Args:
        cpu: Model name of the processor.
        cores: Processor cores that this process may use.
        ghz: Nominal or current clock rate; 0 if it cannot be read.
        ram_bytes: Main memory that this process may use.
        disk_free_bytes: Free space where data sets are cached.
        gpus: In the order of their CUDA numbers.
        system: Operating system and its release.
    """

    cpu: str
    cores: int
    ghz: float
    ram_bytes: int
    disk_free_bytes: int
    gpus: tuple[Gpu, ...]
    system: str

    @property
    def key(self) -> str:
        """Names the kind of machine: what was measured on one holds for another of the same key."""
        gpus = "+".join(gpu.name for gpu in self.gpus)
        return f"{self.cpu} x{self.cores}{' ' + gpus if gpus else ''}"


def detect_machine(disk: Path) -> Machine:
    """Return what this machine has.

    Args:
        disk: A folder on the disk that data sets are read from; need not exist yet.
    """
    while not disk.exists():
        disk = disk.parent
    return Machine(
        cpu=_cpu_name(),
        cores=_usable_cores(),
        ghz=_clock_ghz(),
        ram_bytes=_usable_ram(),
        disk_free_bytes=shutil.disk_usage(disk).free,
        gpus=_nvidia_gpus(),
        system=f"{platform.system()} {platform.release()}",
    )


def choose_device(asked: str, machine: Machine) -> str:
    """Return "cpu" or "cuda:N" for what a recipe asks for.

    Raises:
        InputError: The machine has no GPU at all.
        UnknownNameError: The machine has no such device.
    """
    known = ["cpu", *(f"cuda:{number}" for number in range(len(machine.gpus)))]
    asked = str(asked).casefold()
    if asked == "auto":
        return known[1] if len(known) > 1 else "cpu"
    name = "cuda:0" if asked == "cuda" else asked
    if name.startswith("cuda") and len(known) == 1:
        raise InputError(
            f"device={asked} was asked for, and this machine has no GPU that CUDA can use "
            "(`nvidia-smi` lists them). Type device=cpu"
        )
    if name not in known:
        raise UnknownNameError(
            "device on this machine",
            asked,
            ["auto", *known],
            "`traintime machine` shows what it has; type for example device=auto",
        )
    return name


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _clock_ghz() -> float:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return 0.0
    return max(frequency.max, frequency.current) / 1e3 if frequency else 0.0


def _usable_ram() -> int:
    """Return the physical memory, or the container's limit if that is less."""
    limits = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return min(limits)


def _nvidia_gpus() -> tuple[Gpu, ...]:
    """Ask NVIDIA's own tool, which is there wherever its driver is."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rpartition(",") for line in answer.stdout.splitlines() if "," in line]
    # GPUs that share the main memory answer [N/A].
    return _visible(
        [
            Gpu(name.strip(), int(mib) * 2**20 if mib.strip().isdigit() else 0)
            for name, _, mib in rows
        ]
    )


def _visible(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA will show to this process, in its order."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return tuple(gpus)
    if wanted.startswith(("GPU-", "MIG-")):  # by identity: how many is all that is needed here
        return tuple(gpus[: len(wanted.split(","))])
    numbers = [int(word) if word.strip().isdigit() else -1 for word in wanted.split(",")]
    known = list(itertools.takewhile(lambda number: 0 <= number < len(gpus), numbers))
    return tuple(gpus[number] for number in known)
