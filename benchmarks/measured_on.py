"""The machine and the software that a result was measured on: no figure stands without them."""

from __future__ import annotations

import datetime
import json
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from environments import packages_in

# Busy-waiting threads suffer most: a second job can make a small step ten times slower.
QUIET_CORES = 0.2


def measured_on(environments: Iterable[str]) -> dict[str, Any]:
    """Return device, CPU, cores, memory, system, date and every package's version."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": _gpu_model() or "cpu",
        "cpu_model": _cpu_model(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: packages_in(name) for name in sorted(set(environments))},
    }


def in_words(facts: dict[str, Any], cores_used_by_others: float | None = None) -> str:
    """Return the machine as a line under a table, with a warning if it was busy with other things.

    Args:
        facts: What `measured_on` gave.
        cores_used_by_others: Median over the runs, where that was watched.
    """
    line = (
        f"{facts['cpu_model']}, {facts['physical_cores']} cores, device {facts['device']}, "
        f"{facts['date'][:10]}"
    )
    if cores_used_by_others is None:
        return line
    line += f"; others used {cores_used_by_others:.2f} cores meanwhile"
    if cores_used_by_others > QUIET_CORES:
        line += " - too many: measure again on a quiet machine"
    return line


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu_model() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    printed = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return ", ".join(printed.split("\n")).strip(", ")
