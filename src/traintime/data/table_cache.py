"""Prepared rows of a table as they are kept: arrays and facts in one file, checked on reading."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from traintime.data.draw import PartRows, Rows
from traintime.data.kept_copies import drop_oldest, note_use, place_of, read_note, write_note
from traintime.data.table_encoding import Features
from traintime.data.table_facts import TableFacts
from traintime.ledger.atomic import remove_leftovers, write_atomically

CONTENT = "table.npz"
KEPT = 16
"""Copies of one table: of other seeds, parts or contents."""


@dataclass(frozen=True)
class ShownRow:
    """What is shown of a row.

    Args:
        row: Where it stands, "line 17".
        cells: The first ones that tell something, by column.
    """

    row: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class PreparedTable:
    """The rows of a table, ready for a network.

    Args:
        facts: What is known of it.
        features: (N, F).
        labels: (N,), the class of each row.
        parts: Which rows each part has.
        shown: What is shown of each row of the test part.
    """

    facts: TableFacts
    features: Features
    labels: Rows
    parts: PartRows
    shown: tuple[ShownRow, ...]


def with_digest(table: PreparedTable) -> PreparedTable:
    """Return a table whose facts hold the checksum of all that a run is given of it."""
    digest = hashlib.sha256()
    for array in _arrays(table).values():
        digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps([table.facts.classes, table.facts.features]).encode())
    return replace(table, facts=replace(table.facts, prepared_sha256=digest.hexdigest()))


def _arrays(table: PreparedTable) -> dict[str, Any]:
    parts = {"train": table.parts.train, "test": table.parts.test}
    if table.parts.validation is not None:
        parts["validation"] = table.parts.validation
    return {"features": table.features, "labels": table.labels, **parts}


def keep_table(table: PreparedTable, source: Path) -> None:
    """Keep a prepared table.

    Args:
        table: What is kept.
        source: Its file; of the copies of one the oldest are dropped.

    Raises:
        StorageError: The disk refused.
    """
    key = table.facts.key
    remove_leftovers(place_of(key))
    shown = [asdict(row) for row in table.shown]
    text = json.dumps({"facts": table.facts.to_json(), "shown": shown}).encode()
    arrays = {**_arrays(table), "text": np.frombuffer(text, np.uint8)}
    digests: list[str] = []

    def write(path: Path) -> None:
        with path.open("r+b") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.seek(0)
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())

    write_atomically(place_of(key) / CONTENT, write)
    write_note(key, {"folder": str(source), "sha256": digests[-1]})
    drop_oldest(str(source), KEPT)


def read_table(key: str) -> PreparedTable | None:
    """Return what is kept of a table, or None if there is nothing or it is damaged."""
    note = read_note(key)
    if note is None:
        return None
    try:
        content = (place_of(key) / CONTENT).read_bytes()
        if hashlib.sha256(content).hexdigest() != note["sha256"]:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            table = _from_arrays({name: archive[name] for name in archive.files})
        note_use(key)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
    return table if table.facts.key == key else None


def _from_arrays(arrays: dict[str, Any]) -> PreparedTable:
    text = json.loads(arrays["text"].tobytes())
    return PreparedTable(
        TableFacts.from_json(text["facts"]),
        arrays["features"],
        arrays["labels"],
        PartRows(arrays["train"], arrays.get("validation"), arrays["test"]),
        tuple(ShownRow(**row) for row in text["shown"]),
    )
