"""The GPU and the software that a result was measured with: versions, settings, clocks, power."""

from __future__ import annotations

import contextlib
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from gpu.precisions import half_precision
from traintime.errors import TraintimeError
from traintime.hardware.devices import DeviceSpec, find_device

SMI_FACTS = (
    "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,"
    "power.default_limit,temperature.gpu,ecc.mode.current,mig.mode.current"
)
SMI_WATCHED = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")


def spec_of(name: str) -> DeviceSpec | None:
    """Return the catalogue's entry of a device; None where it has none."""
    try:
        return find_device(name)
    except TraintimeError:
        return None


def torch_facts(device: str) -> dict[str, Any]:
    """Return versions and settings that decide which kernels run, and the GPU's own facts."""
    facts: dict[str, Any] = {
        "version": torch.__version__,
        "autotuned_convolutions": torch.backends.cudnn.benchmark,
        "amp_dtype": str(half_precision(device)),
    }
    if device != "cuda":
        return facts
    properties = torch.cuda.get_device_properties("cuda")
    torch.zeros(1, device="cuda")
    free, total = torch.cuda.mem_get_info()
    return facts | {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "gpu": properties.name,
        "capability": list(torch.cuda.get_device_capability()),
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": getattr(properties, "L2_cache_size", None),
        "memory_bytes": total,
        "context_bytes": total - free - torch.cuda.memory_reserved(),
        "nvidia_smi": _nvidia_smi(),
    }


def _smi_command(query: str) -> list[str]:
    uuid = getattr(torch.cuda.get_device_properties("cuda"), "uuid", None)
    which = [f"--id=GPU-{uuid}"] if uuid else []
    return ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", *which]


def _nvidia_smi() -> dict[str, str]:
    if not shutil.which("nvidia-smi"):
        return {}
    done = subprocess.run(_smi_command(SMI_FACTS), capture_output=True, text=True, check=False)
    values = [value.strip() for value in done.stdout.strip().split("\n")[0].split(",")]
    return dict(zip(SMI_FACTS.split(","), values, strict=False))


@contextlib.contextmanager
def watched(device: str, facts: dict[str, Any], name: str) -> Iterator[None]:
    """Note clocks, power and temperature once a second: [low, median, high]."""
    if device != "cuda" or not shutil.which("nvidia-smi"):
        yield
        return
    command = [*_smi_command(",".join(SMI_WATCHED)), "--loop-ms=1000"]
    with tempfile.TemporaryFile("w+") as seen:
        watcher = subprocess.Popen(command, stdout=seen, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            watcher.terminate()
            watcher.wait()
            seen.seek(0)
            facts[name] = _summary(seen.read())


def _summary(printed: str) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for line in printed.splitlines():
        for name, text in zip(SMI_WATCHED, line.split(","), strict=False):
            number = re.search(r"[\d.]+", text)
            if number:
                columns.setdefault(name, []).append(float(number.group()))
    return {k: [min(v), statistics.median(v), max(v)] for k, v in columns.items()}
