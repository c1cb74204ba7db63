"""Follows a growing file of JSON lines without reading what was read before."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, cast


class NewRecords(NamedTuple):
    """What came since the last look.

    Args:
        records: In the order of the file.
        is_anew: The file was replaced or cut, so that these are all there are.
    """

    records: list[dict[str, Any]]
    is_anew: bool = False


class RecordTail:
    """Reads what another process adds to a file; its last line may still be being written.

    Args:
        path: The file, which need not exist yet.
        needed: Keys without which a record counts as damaged.
    """

    def __init__(self, path: Path, needed: Collection[str] = ()) -> None:
        self._path, self._needed = path, needed
        self._offset = 0
        self._file_number = 0

    def read(self) -> NewRecords:
        """Return the records that came since the last time."""
        try:
            with self._path.open("rb") as file:
                is_anew = self._start_over_if_replaced(file.fileno())
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            was_read, self._offset = self._offset > 0, 0
            return NewRecords([], was_read)
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = (self._record(line) for line in whole.splitlines())
        return NewRecords([record for record in found if record], is_anew)

    def rewind(self) -> None:
        """Begin anew: the next look returns all that there is."""
        self._offset = 0

    def _start_over_if_replaced(self, descriptor: int) -> bool:
        """Resuming a run replaces the file by one without what came after the checkpoint."""
        found = os.fstat(descriptor)
        is_another = found.st_ino != self._file_number or found.st_size < self._offset
        self._file_number = found.st_ino
        is_anew = is_another and self._offset > 0
        self._offset = 0 if is_another else self._offset
        return is_anew

    def _record(self, line: bytes) -> dict[str, Any] | None:
        """Return a line's record; none if a crash cut the line short."""
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        known = cast("dict[str, Any]", record)
        return known if all(key in known for key in self._needed) else None
