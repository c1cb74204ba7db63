"""The stored copies of data sets: a folder each, a `.npy` file per part, verified on reading.

A file is put in its place whole and all are checked against the catalogue, so no order of crashes
leaves a mixture that would be used. `content.json` beside them is for people: it says where the
content came from, and no decision rests on it.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from traintime.data.catalogue import DataFacts
from traintime.data.formats import Bytes, Parts
from traintime.ledger.atomic import (
    refused_writes_explained,
    write_atomically,
    write_bytes_atomically,
)
from traintime.ledger.paths import cache_folder

_LARGEST_HEADER_BYTES = 4096


class DamagedError(Exception):
    """A stored file does not hold the true content; the message says which and why."""


def read_stored(facts: DataFacts) -> Parts | None:
    """Return the verified parts of a stored data set, or None if some are missing.

    Raises:
        DamagedError: A file is not what it should be.
    """
    shapes = facts.part_shapes
    if not all(_path(facts, part).is_file() for part in shapes):
        return None
    # Reading and hashing release the interpreter's lock, so the parts go side by side.
    with ThreadPoolExecutor(len(shapes)) as threads:
        return dict(zip(shapes, threads.map(partial(_read_part, facts), shapes), strict=True))


def looks_stored(facts: DataFacts) -> bool:
    """Say whether all parts are there with the right sizes, without reading them."""
    return all(_header_bytes(facts, part) is not None for part in facts.part_shapes)


def noted_source(facts: DataFacts) -> str:
    """Return where a stored data set came from, as far as that is known."""
    try:
        note = json.loads((_folder(facts) / "content.json").read_text(encoding="utf-8"))
        return str(note["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not recorded"


def throw_away(facts: DataFacts) -> None:
    """Delete a stored data set."""
    with refused_writes_explained(_folder(facts)):
        for part in facts.part_shapes:
            _path(facts, part).unlink(missing_ok=True)


def store(facts: DataFacts, parts: Parts, source: str) -> None:
    """Keep the verified parts of a data set.

    Raises:
        StorageError: The disk refused.
    """
    for part, array in parts.items():
        write_atomically(_path(facts, part), partial(_save, array))
    note = {
        "data": facts.name,
        "source": source,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256_of_content": dict(facts.sha256),
        "sha256_of_file": {part: _file_sha256(_path(facts, part)) for part in parts},
    }
    content = json.dumps(note, indent=2).encode()
    write_bytes_atomically(_folder(facts) / "content.json", content)


def differing(facts: DataFacts, parts: Parts) -> list[str]:
    """Return the names of the parts that are not what the catalogue says."""
    return [
        part
        for part, shape in facts.part_shapes.items()
        if parts[part].shape != shape or _sha256(parts[part]) != facts.sha256[part]
    ]


def _folder(facts: DataFacts) -> Path:
    return cache_folder() / "data" / facts.name


def _path(facts: DataFacts, part: str) -> Path:
    return _folder(facts) / f"{part}.npy"


def _read_part(facts: DataFacts, part: str) -> Bytes:
    """Read a part by the shape that it must have, not by its own header, which may be damaged."""
    path = _path(facts, part)
    header_bytes = _header_bytes(facts, part)
    if header_bytes is None:
        raise DamagedError(f"{path.name} has the wrong size")
    try:
        content = np.fromfile(path, np.uint8, offset=header_bytes)
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from error
    if _sha256(content) != facts.sha256[part]:
        raise DamagedError(f"{path.name} has another checksum")
    return content.reshape(facts.part_shapes[part])


def _header_bytes(facts: DataFacts, part: str) -> int | None:
    """Return how many bytes come before a part's content, or None if the size cannot be right."""
    path = _path(facts, part)
    if not path.is_file():
        return None
    header_bytes = path.stat().st_size - prod(facts.part_shapes[part])
    return header_bytes if 0 < header_bytes <= _LARGEST_HEADER_BYTES else None


def _save(array: Bytes, path: Path) -> None:
    with path.open("wb") as file:  # given a name, np.save would append .npy to it
        np.save(file, array, allow_pickle=False)


def _sha256(array: Bytes) -> str:
    return hashlib.sha256(array.reshape(-1).data).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
