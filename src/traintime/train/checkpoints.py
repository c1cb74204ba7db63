"""Checkpoints: one file each, whole or not there, and checked when it is read.

A checkpoint is one safetensors file. Its header carries the state that is no tensor, as JSON, and a
SHA-256 of both; nothing in it is executed when it is read. The last two are kept, so a damaged one
leaves its predecessor.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from traintime.errors import RunFolderError
from traintime.ledger.atomic import remove_leftovers, write_atomically

KEPT = 2
CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A point to go on from: tensors by name, and all other state."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint so that a crash at any instant leaves a good one, and drop the oldest.

    Raises:
        StorageError: The disk refused; older checkpoints are unharmed.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    state = json.dumps(checkpoint.state)
    header = {
        "format": str(CHECKPOINT_FORMAT),
        "state": state,
        "sha256": _digest(tensors, state),
    }
    path = folder / f"step-{step:09d}.safetensors"
    write_atomically(path, lambda temporary: save_file(tensors, temporary, header))
    # Later ones are damaged, or this run would have gone on from them.
    kept = [other for other in _paths(folder) if other.name <= path.name][:KEPT]
    for other in _paths(folder):
        if other not in kept:
            with suppress(OSError):  # one too many harms nobody
                other.unlink()
    return path


def load_latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None if there is none at all.

    Args:
        folder: Where checkpoints are kept; nothing writes there meanwhile.
        say: Told about each damaged file that is passed over, and what is used instead.

    Raises:
        RunFolderError: There are checkpoints, and every one is damaged.
    """
    remove_leftovers(folder)
    damaged: dict[str, str] = {}
    for path in _paths(folder):
        try:
            checkpoint = load_checkpoint(path)
        except ValueError as error:
            damaged[path.name] = str(error)
            continue
        for name, why in damaged.items():
            say(f"Checkpoint {name} is damaged ({why}); {path.name} is used instead")
        return checkpoint
    if damaged:
        reasons = "; ".join(f"{name}: {why}" for name, why in damaged.items())
        raise RunFolderError(
            f"Every checkpoint in '{folder}' is damaged ({reasons}). "
            f"Delete them to start this run over: rm '{folder}'/*.safetensors"
        )
    return None


def load_before(folder: Path, step: int) -> Checkpoint | None:
    """Return the newest checkpoint of an earlier step that is whole, or None."""
    for path in _paths(folder):
        if _step(path) < step:
            with suppress(ValueError):
                return load_checkpoint(path)
    return None


def drop_from(folder: Path, step: int) -> None:
    """Remove the checkpoints of a step and of all later ones, as far as the disk lets them go."""
    for path in _paths(folder):
        if _step(path) >= step:
            with suppress(OSError):  # a later process would only try it once more
                path.unlink()


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest checkpoint, unread; None if there is none."""
    return next(map(_step, _paths(folder)), None)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify it.

    Raises:
        ValueError: It is not whole, or of another format.
    """
    try:
        if not path.stat().st_size:
            raise ValueError("it is empty")
        with safe_open(path, framework="pt") as file:
            header: Mapping[str, str] = defaultdict(str, file.metadata() or {})
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if header["format"] != str(CHECKPOINT_FORMAT):
        raise ValueError(f"format {header['format'] or 'unknown'}, expected {CHECKPOINT_FORMAT}")
    if header["sha256"] != _digest(tensors, header["state"]):
        raise ValueError("its checksum does not match")
    return Checkpoint(tensors, json.loads(header["state"]))


def _paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first."""
    return sorted(folder.glob(f"step-{'[0-9]' * 9}.safetensors"), reverse=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
