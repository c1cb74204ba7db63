"""The hardware verb: the devices there are, and what each can do at best."""

from __future__ import annotations

from pathlib import Path

from traintime.errors import UnknownNameError
from traintime.hardware.devices import KINDS, DeviceSpec, devices, find_device, remove_device


def hardware_list(kind: str | None = None) -> tuple[DeviceSpec, ...]:
    """Return the devices there are, those that were saved first.

    Args:
        kind: Only these: "gpu", "cpu", "tpu", "asic", "apple" or "igpu".

    Raises:
        UnknownNameError: There is no such kind.
        InputError: A saved device cannot be read.
    """
    if kind is not None and kind.casefold() not in KINDS:
        raise UnknownNameError(
            "kind of device", kind, KINDS, "Type for example: traintime hardware list --kind gpu"
        )
    return tuple(spec for spec in devices() if kind is None or spec.kind == kind.casefold())


def hardware_show(name: str) -> DeviceSpec:
    """Return one device.

    Args:
        name: Its key, its name, or what its driver calls it.

    Raises:
        UnknownNameError: There is none of that name.
        InputError: A saved device cannot be read.
    """
    return find_device(name)


def hardware_remove(name: str) -> Path:
    """Forget a device that `traintime machine --save` kept; return the file that it was in.

    Args:
        name: As it was saved.

    Raises:
        UnknownNameError: None was saved under that name.
        StorageError: The disk refused.
    """
    return remove_device(name)
