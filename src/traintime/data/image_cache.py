"""Images of a folder as they were read: an array and what is known of it, checked on reading.

Each set of images has a folder named by its key. The array is put in its place first, the note with
its checksum afterwards, and a note that does not fit is as good as none: no order of crashes leaves
an array that would be used with another's note.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from traintime.data.formats import Bytes
from traintime.data.read_image import ReadImages
from traintime.ledger.atomic import remove_leftovers, write_atomically, write_bytes_atomically
from traintime.ledger.paths import cache_folder

ARRAY, NOTE = "images.bin", "content.json"
KEPT = 4
"""Copies of one folder: of other sizes, parts or times."""
LONGEST_WRITE_S = 86_400


def has_copy(key: str) -> bool:
    """Say whether images are kept, judged by the size of the file."""
    note = _note(key)
    if note is None:
        return False
    with suppress(OSError):
        return (_place(key) / ARRAY).stat().st_size == int(np.prod(note["shape"]))
    return False


def read_copy(key: str) -> ReadImages | None:
    """Return what is kept of images, or None if there is nothing or it is damaged.

    The array is the file itself, mapped: its pages are memory that the system may take back.
    """
    note, path = _note(key), _place(key) / ARRAY
    if note is None:
        return None
    try:
        mapped = np.memmap(path, np.uint8, "c", shape=tuple(note["shape"]))
        images = np.asarray(mapped)
        if _sha256(images) != note["sha256"]:
            return None
        os.utime(_place(key) / NOTE)  # the copies that were used last are kept
    except (OSError, ValueError):
        return None
    unreadable = {int(row): str(why) for row, why in note["unreadable"].items()}
    return ReadImages(images, unreadable)


def keep_copy(key: str, folder: Path, read: ReadImages) -> None:
    """Keep images.

    Args:
        key: Whose.
        folder: Where the images come from; of the copies of one folder the oldest are dropped.
        read: What to keep.

    Raises:
        StorageError: The disk refused.
    """
    remove_leftovers(_place(key))
    write_atomically(_place(key) / ARRAY, read.images.tofile)
    note = {
        "folder": str(folder),
        "shape": read.images.shape,
        "sha256": _sha256(read.images),
        "unreadable": read.unreadable,
    }
    write_bytes_atomically(_place(key) / NOTE, json.dumps(note, indent=1).encode())
    _drop_oldest(str(folder))


def _drop_oldest(folder: str) -> None:
    """Drop the copies of a folder that were used longest ago, and what a killed process left."""
    with suppress(OSError):
        ours: list[tuple[float, str]] = []
        for place in _all_places().iterdir():
            note = _note(place.name)
            if note is None and time.time() - place.stat().st_mtime > LONGEST_WRITE_S:
                shutil.rmtree(place)
            elif note and note.get("folder") == folder:
                ours.append(((place / NOTE).stat().st_mtime, place.name))
        for _, key in sorted(ours, reverse=True)[KEPT:]:
            shutil.rmtree(_place(key))


def _all_places() -> Path:
    return cache_folder() / "data" / "own"


def _place(key: str) -> Path:
    return _all_places() / key[:32]


def _note(key: str) -> dict[str, Any] | None:
    try:
        note = json.loads((_place(key) / NOTE).read_text(encoding="utf-8"))
        return note if {"shape", "sha256", "unreadable"} <= note.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _sha256(images: Bytes) -> str:
    return hashlib.sha256(images.reshape(-1).data).hexdigest()
