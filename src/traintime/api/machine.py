"""The machine verb: what this machine has, and what it sustains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

from traintime.api.listener import Listener
from traintime.errors import InputError, MissingExtraError, StorageError
from traintime.forecast.own_cpu import spec_of_profile
from traintime.hardware.devices import DeviceSpec, check_new_key, save_device
from traintime.hardware.disk import reading_speed
from traintime.hardware.machine import Machine, choose_device, detect_machine
from traintime.hardware.profile import HardwareProfile, load_profile, save_profile
from traintime.ledger.paths import HOME_VARIABLE, cache_folder


def machine(
    device: str = "auto", *, measure: bool | None = None, listener: Listener | None = None
) -> HardwareProfile:
    """Return what a device of this machine sustains.

    It is measured once, in about ten seconds, and remembered until the machine or torch changes.

    Args:
        device: "auto", "cpu" or "cuda:N".
        measure: True measures again, False never does, None does if nothing is remembered.
        listener: Told what is being measured.

    Raises:
        UnknownNameError: This machine has no such device.
        MissingExtraError: Measuring was asked for and torch is not installed.
    """
    listener = listener or Listener()
    found = detect_machine(cache_folder())
    chosen = usable_device(device, found)
    path = _profile_path(found, chosen)
    has_torch = find_spec("torch") is not None
    if measure and not has_torch:
        raise MissingExtraError("Measuring this machine", "train", "torch")
    remembered = None if measure else load_profile(path)
    if remembered and _still_holds(remembered, has_torch):
        return remembered
    if measure is False or not has_torch:
        return _guess(found, chosen)
    profile = _measure(found, chosen, listener)
    try:
        save_profile(profile, path)
    except StorageError as error:
        why = getattr(error.__cause__, "strerror", None) or error
        listener.say(
            f"The measurement could not be kept in '{path.parent}' ({why}), so it is made again "
            f"each time. To keep it, type: export {HOME_VARIABLE}=/a/folder/to/write/to"
        )
    return profile


def save_machine(
    name: str,
    device: str = "auto",
    *,
    measure: bool | None = None,
    listener: Listener | None = None,
) -> DeviceSpec:
    """Keep this machine's processor, as measured, as a device that forecasts know by a name.

    Args:
        name: To type in `device=NAME`; lower-case letters, digits, dots and dashes.
        device: "auto" or "cpu".
        measure: As `machine` takes it.
        listener: Told what is being measured.

    Raises:
        InputError: The name cannot be a device's or is another's, or a GPU was asked for.
    """
    check_new_key(name)
    profile = machine("cpu" if device == "auto" else device, measure=measure, listener=listener)
    if profile.device != "cpu":
        raise InputError(
            f"{device} is a GPU, which forecasts know from the catalogue. `traintime hardware list "
            "--kind gpu` shows how it is called; type device=cpu to save the processor"
        )
    spec = dataclasses.replace(spec_of_profile(profile), key=name, confidence="user")
    save_device(spec)
    return spec


def remembered_unsteadiness(device: str) -> float:
    """Return how much this machine varied within seconds when it was measured; 0 if it was not."""
    remembered = load_profile(_profile_path(detect_machine(cache_folder()), device))
    return remembered.unsteadiness if remembered else 0.0


def usable_device(asked: str, found: Machine) -> str:
    """Return "cpu" or "cuda:N" for what is asked for, if machine and torch can give it.

    Raises:
        InputError: They cannot.
    """
    return choose_device(asked, _as_torch_sees(found, asked))


def _as_torch_sees(found: Machine, asked: str) -> Machine:
    """Return the machine without the GPUs that the installed torch was not built for."""
    installed = installed_version("torch")
    if installed is None and not asked.startswith("cuda"):
        return dataclasses.replace(found, gpus=())  # specifications of GPUs are not enough yet
    if not found.gpus or not (installed or "").endswith("+cpu"):
        return found
    if asked.startswith("cuda"):
        raise InputError(
            f"This machine has {found.gpus[0].name}, but the installed torch is built for CPUs "
            "alone. Install torch for your driver, or type device=cpu"
        )
    return dataclasses.replace(found, gpus=())


def _profile_path(found: Machine, device: str) -> Path:
    digest = hashlib.sha256(f"{found.key} {device}".encode()).hexdigest()[:12]
    return cache_folder() / "machines" / f"{digest}.json"


def _still_holds(profile: HardwareProfile, has_torch: bool) -> bool:
    """Say whether a profile was measured with the torch that is installed, if one is."""
    return not has_torch or profile.software.get("torch") == installed_version("torch")


def installed_version(package: str) -> str | None:
    """Return the version of an installed package without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _guess(found: Machine, device: str) -> HardwareProfile:
    if device != "cpu":
        raise InputError(
            f"Nothing was measured on {device} yet, and its specifications alone are not enough. "
            "Type: pip install 'traintime[train]' && traintime machine; or device=cpu"
        )
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text("utf-8")
    return HardwareProfile.from_json(json.loads(text)).scaled_to(found)


def _reading_speed() -> float:
    """Return that of the disk of the cache; of the one for temporary files if it takes none."""
    try:
        return reading_speed(cache_folder())
    except StorageError:
        return reading_speed(Path(gettempdir()))


def _measure(found: Machine, device: str, listener: Listener) -> HardwareProfile:
    from traintime.api.measuring import measure_apart

    listener.on_measuring("importing torch", 0.0)
    speed = _reading_speed()
    profile = measure_apart(device, speed, listener.on_measuring)
    listener.on_measuring("done", 1.0)
    return dataclasses.replace(profile, machine=found)
