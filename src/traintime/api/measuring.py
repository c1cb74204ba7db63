"""Measures a device in a process of its own, so that what that takes is not the caller's.

    python -m traintime.api.measuring cpu BYTES_PER_S

Prints a JSON object a line: {"what": ..., "share": ...} as it goes, {"profile": ...} at its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from tempfile import TemporaryFile
from time import perf_counter
from typing import Any, cast

from traintime.errors import InputError
from traintime.hardware.profile import HardwareProfile
from traintime.hardware.threads import share_processor

IMPORTED = "torch imported"


def measure_apart(
    device: str, disk_bytes_per_s: float, progress: Callable[[str, float], None]
) -> HardwareProfile:
    """Return what a device sustains, measured in another process.

    Args:
        device: "cpu" or "cuda:N".
        disk_bytes_per_s: Reading rate of the data's disk.
        progress: Told what is measured and the share that is done.

    Raises:
        InputError: The installed torch cannot use the device.
    """
    share_processor()
    command = [sys.executable, "-m", __name__, device, str(disk_bytes_per_s)]
    began, import_s = perf_counter(), 0.0
    profile: HardwareProfile | None = None
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child,  # noqa: S603
    ):
        assert child.stdout
        for line in child.stdout:
            told = _read(line)
            if told is None:
                continue
            if "profile" in told:
                profile = HardwareProfile.from_json(told["profile"])
            elif told["what"] == IMPORTED:
                import_s = perf_counter() - began
            else:
                progress(told["what"], told["share"])
        child.wait()
        errors.seek(0)
        said = errors.read().strip().splitlines()
    if profile is None:
        reason = said[-1] if said else f"it ended with {child.returncode}"
        help_ = "Install torch for your driver, or type device=cpu"
        if device == "cpu":
            help_ = "Close what takes the memory, or see what this says: python -c 'import torch'"
        raise InputError(f"The installed torch cannot use {device} ({reason}). {help_}")
    return replace(profile, import_s=import_s)


def _read(line: str) -> dict[str, Any] | None:
    """Return what a line tells; None for one that a library printed."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", told) if isinstance(told, dict) else None


def main() -> None:
    """Measure in this process and print what is found."""
    device, disk_bytes_per_s = sys.argv[1], float(sys.argv[2])
    import torch

    torch.zeros(1, device=device)
    _print({"what": IMPORTED, "share": 0.0})
    from traintime.forecast.probes import measure_device
    from traintime.hardware.allocator import keep_freed_memory
    from traintime.hardware.machine import detect_machine
    from traintime.ledger.paths import cache_folder

    keep_freed_memory()

    def progress(what: str, share: float) -> None:
        _print({"what": what, "share": share})

    found = detect_machine(cache_folder())
    _print({"profile": measure_device(found, device, disk_bytes_per_s, 0.0, progress).to_json()})


def _print(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
