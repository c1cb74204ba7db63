"""A machine that was measured before, so that no test measures it."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from traintime.api.machine import _profile_path, installed_version
from traintime.hardware.machine import detect_machine
from traintime.hardware.profile import HardwareProfile, save_profile
from traintime.ledger.paths import cache_folder
from traintime.ledger.run_folder import RunFolder

QUICK: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "hidden": (16,),
    "epochs": 2,
    "device": "cpu",
    "precision": "fp32",
}
"""A job of half a second."""


def remember_machine() -> HardwareProfile:
    """Put a profile of this machine's processor in the cache, with the rates of another one."""
    found = detect_machine(cache_folder())
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text("utf-8")
    profile = dataclasses.replace(
        HardwareProfile.from_json(json.loads(text)),
        machine=found,
        evidence="measured on this machine",
        software={"torch": str(installed_version("torch"))},
    )
    save_profile(profile, _profile_path(found, "cpu"))
    return profile


def as_words(**fields: Any) -> list[str]:
    """Return fields as they are typed."""
    return [
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for key, value in fields.items()
    ]


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the records of a run folder, all of them whole."""
    found = list(RunFolder(folder).records(name))
    assert len(found) == len((folder / f"{name}.jsonl").read_text().splitlines())
    return found
