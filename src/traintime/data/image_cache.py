"""Images of a folder as they were read: an array and what is known of it, checked on reading.

A table beside them knows each image by itself, so that a few can be read and checked without all
others; it is also kept without the array.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from traintime.data.formats import Bytes
from traintime.data.image_store import FACTS, KnownImages
from traintime.data.kept_copies import (
    Note,
    drop_oldest,
    note_use,
    place_of,
    read_note,
    write_note,
)
from traintime.data.read_image import DECODER, ReadImages, usable_cores
from traintime.errors import StorageError
from traintime.ledger.atomic import remove_leftovers, write_atomically, write_bytes_atomically
from traintime.units import format_bytes

ARRAY, TABLE = "images.bin", "table.bin"
KEPT = 4
"""Copies of one folder: of other sizes, parts or times."""
AT_ONCE = 1024
NOTED = {"shape", "sha256", "decoder", "table_sha256", "unreadable"}


def has_copy(key: str) -> bool:
    """Say whether images are kept, judged by the size of the file."""
    note = _note(key)
    return note is not None and _is_whole(key, note)


def forget_unfinished(key: str) -> None:
    """Delete what a process that was ended left of a copy; it takes the room of a whole one."""
    remove_leftovers(place_of(key))


def read_copy(key: str) -> ReadImages | None:
    """Return what is kept of images, or None if there is nothing or it is damaged.

    The array is the file itself, mapped: its pages are memory that the system may take back.
    """
    note, path = _note(key), place_of(key) / ARRAY
    if note is None:
        return None
    try:
        mapped = np.memmap(path, np.uint8, "c", shape=tuple(note["shape"]))
        images = np.asarray(mapped)
        if hashlib.sha256(images.reshape(-1).data).hexdigest() != note["sha256"]:
            return None
        note_use(key)
    except (OSError, ValueError):
        return None
    return ReadImages(images, _unreadable(note))


def read_facts(key: str) -> KnownImages | None:
    """Return what is known of each image without reading any; None if nothing whole is kept."""
    note = _note(key)
    if note is None:
        return None
    try:
        content = (place_of(key) / TABLE).read_bytes()
        if hashlib.sha256(content).hexdigest() != note["table_sha256"]:
            return None
        note_use(key)
    except OSError:
        return None
    array = place_of(key) / ARRAY if _is_whole(key, note) else None
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
    remove_leftovers(place_of(key))
    writing = _Writing(place_of(key), shape)
    if array:
        write_atomically(place_of(key) / ARRAY, lambda path: writing.write(path, parts))
    else:
        for part in parts:
            writing.take(part)
    table = b"".join(writing.facts)
    write_bytes_atomically(place_of(key) / TABLE, table)
    note = {
        "folder": str(folder),
        "shape": shape,
        "sha256": writing.sha256.hexdigest(),
        "decoder": DECODER,
        "table_sha256": hashlib.sha256(table).hexdigest(),
        "unreadable": writing.unreadable,
    }
    write_note(key, note)
    drop_oldest(str(folder), KEPT)


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


def _note(key: str) -> Note | None:
    note = read_note(key)
    return note if note and note.keys() >= NOTED else None


def _is_whole(key: str, note: Note) -> bool:
    with suppress(OSError):
        return (place_of(key) / ARRAY).stat().st_size == int(np.prod(note["shape"]))
    return False


def _unreadable(note: Note) -> dict[int, str]:
    return {int(row): str(why) for row, why in note["unreadable"].items()}
