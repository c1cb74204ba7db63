"""Images of a folder as they were read: an array and what is known of it, checked on reading.

Each set of images has a folder named by its key. The array is put in its place first, the note with
its checksum afterwards, and a note that does not fit is as good as none: no order of crashes leaves
an array that would be used with another's note. A table beside them knows each image by itself, so
that a few can be read and checked without all others; it is also kept without the array.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from traintime.data.formats import Bytes
from traintime.data.image_store import FACTS, KnownImages
from traintime.data.read_image import DECODER, ReadImages, usable_cores
from traintime.errors import StorageError
from traintime.ledger.atomic import remove_leftovers, write_atomically, write_bytes_atomically
from traintime.ledger.paths import cache_folder
from traintime.units import format_bytes

ARRAY, TABLE, NOTE = "images.bin", "table.bin", "content.json"
KEPT = 4
"""Copies of one folder: of other sizes, parts or times."""
AT_ONCE = 1024
LONGEST_WRITE_S = 86_400
NOTED = {"shape", "sha256", "decoder", "table_sha256", "unreadable"}


def has_copy(key: str) -> bool:
    """Say whether images are kept, judged by the size of the file."""
    note = _note(key)
    return note is not None and _is_whole(key, note)


def forget_unfinished(key: str) -> None:
    """Delete what a process that was ended left of a copy; it takes the room of a whole one."""
    remove_leftovers(_place(key))


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
        if hashlib.sha256(images.reshape(-1).data).hexdigest() != note["sha256"]:
            return None
        _note_use(key)
    except (OSError, ValueError):
        return None
    return ReadImages(images, _unreadable(note))


def read_facts(key: str) -> KnownImages | None:
    """Return what is known of each image without reading any; None if nothing whole is kept."""
    note = _note(key)
    if note is None:
        return None
    try:
        content = (_place(key) / TABLE).read_bytes()
        if hashlib.sha256(content).hexdigest() != note["table_sha256"]:
            return None
        _note_use(key)
    except OSError:
        return None
    array = _place(key) / ARRAY if _is_whole(key, note) else None
    facts = np.frombuffer(content, FACTS).copy()
    return KnownImages(facts, _unreadable(note), array, note["decoder"])


def keep_copy(
    key: str,
    folder: Path,
    shape: tuple[int, ...],
    parts: Iterable[ReadImages],
    *,
    array: bool = True,
) -> None:
    """Keep images.

    Args:
        key: Whose.
        folder: Where the images come from; of the copies of one folder the oldest are dropped.
        shape: (N, side, side, 3).
        parts: All of them, one part after the other.
        array: Whether their pixels are kept, or only what is known of each image.

    Raises:
        StorageError: The disk refused, or has not enough room.
    """
    remove_leftovers(_place(key))
    writing = _Writing(_place(key), shape)
    if array:
        write_atomically(_place(key) / ARRAY, lambda path: writing.write(path, parts))
    else:
        for part in parts:
            writing.take(part)
    table = b"".join(writing.facts)
    write_bytes_atomically(_place(key) / TABLE, table)
    note = {
        "folder": str(folder),
        "shape": shape,
        "sha256": writing.sha256.hexdigest(),
        "decoder": DECODER,
        "table_sha256": hashlib.sha256(table).hexdigest(),
        "unreadable": writing.unreadable,
    }
    write_bytes_atomically(_place(key) / NOTE, json.dumps(note, indent=1).encode())
    _drop_oldest(str(folder))


class _Writing:
    """Gathers what is known of images, while they are written one part after the other."""

    def __init__(self, place: Path, shape: tuple[int, ...]) -> None:
        self.facts: list[bytes] = []
        self.unreadable: dict[int, str] = {}
        self.sha256 = hashlib.sha256()
        self._place, self._bytes = place, int(np.prod(shape))

    def write(self, path: Path, parts: Iterable[ReadImages]) -> None:
        with path.open("r+b") as file:
            self._take_room(file)
            for part in parts:
                self.take(part)
                part.images.tofile(file)

    def _take_room(self, file: IO[bytes]) -> None:
        """Take all of the room at once: images that took hours to read must not end in none."""
        missing = self._bytes - shutil.disk_usage(self._place).free
        if missing > 0:
            raise StorageError(
                f"The copy of the images takes {format_bytes(self._bytes)}, and "
                f"{format_bytes(missing)} of that are missing on the disk of '{self._place}'"
            )
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, self._bytes)

    def take(self, part: ReadImages) -> None:
        first = len(self.facts)
        self.unreadable |= {first + row: why for row, why in part.unreadable.items()}
        for start in range(0, len(part.images), AT_ONCE):
            # Few at once: a process that is to end waits for what a pool has begun.
            with ThreadPoolExecutor(usable_cores()) as pool:
                self.facts += pool.map(facts_of, part.images[start : start + AT_ONCE])
        self.sha256.update(part.images.reshape(-1).data)


def facts_of(image: Bytes) -> bytes:
    """Return what is kept of an image (side, side, 3), as one of FACTS."""
    values = image.reshape(-1, 3).astype(np.uint32)
    facts = np.zeros((), FACTS)
    facts["crc32"] = zlib.crc32(np.ascontiguousarray(image).data)
    facts["sums"] = values.sum(axis=0, dtype=np.uint64)
    facts["squares"] = np.square(values).sum(axis=0, dtype=np.uint64)
    return facts.tobytes()


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
        return note if note.keys() >= NOTED else None
    except (OSError, ValueError, AttributeError):
        return None


def _is_whole(key: str, note: dict[str, Any]) -> bool:
    with suppress(OSError):
        return (_place(key) / ARRAY).stat().st_size == int(np.prod(note["shape"]))
    return False


def _unreadable(note: dict[str, Any]) -> dict[int, str]:
    return {int(row): str(why) for row, why in note["unreadable"].items()}


def _note_use(key: str) -> None:
    os.utime(_place(key) / NOTE)  # the copies that were used last are kept
