"""Folders of the cache for what was made of one's own data: one for each copy, with a note.

The content is put in its place first, the note that holds its checksum afterwards, and a note that
does not fit is as good as none: no order of crashes leaves content that would be used with
another's note.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from traintime.ledger.atomic import write_bytes_atomically
from traintime.ledger.paths import cache_folder

NOTE = "content.json"
LONGEST_WRITE_S = 86_400
NOTED = {"folder", "sha256"}
Note = dict[str, Any]


def place_of(key: str) -> Path:
    """Return the folder of a copy."""
    return _all_places() / key[:32]


def read_note(key: str) -> Note | None:
    """Return the note of a copy, or None if there is none that can be read."""
    try:
        note = json.loads((place_of(key) / NOTE).read_text(encoding="utf-8"))
        return note if note.keys() >= NOTED else None
    except (OSError, ValueError, AttributeError):
        return None


def write_note(key: str, note: Note) -> None:
    """Keep the note of a copy whose content is in its place.

    Args:
        key: Of the copy.
        note: With "folder", which says what it was made of, and "sha256".

    Raises:
        StorageError: The disk refused.
    """
    assert note.keys() >= NOTED
    write_bytes_atomically(place_of(key) / NOTE, json.dumps(note, indent=1).encode())


def note_use(key: str) -> None:
    """Remember that a copy was used: those that were used last are kept."""
    os.utime(place_of(key) / NOTE)


def drop_oldest(source: str, kept: int) -> None:
    """Drop the copies that were used longest ago, and what a killed process left.

    Args:
        source: What they were made of, the "folder" of their notes.
        kept: How many of them stay.
    """
    with suppress(OSError):
        ours: list[tuple[float, str]] = []
        for place in _all_places().iterdir():
            note = read_note(place.name)
            if note is None and time.time() - place.stat().st_mtime > LONGEST_WRITE_S:
                shutil.rmtree(place)
            elif note and note["folder"] == source:
                ours.append(((place / NOTE).stat().st_mtime, place.name))
        for _, key in sorted(ours, reverse=True)[kept:]:
            shutil.rmtree(place_of(key))


def _all_places() -> Path:
    return cache_folder() / "data" / "own"
