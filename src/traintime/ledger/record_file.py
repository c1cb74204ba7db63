"""Files of records, a JSON object a line, that outlive kills, bad disks and full ones.

A record stands for itself: what damages one line costs that line alone. A full disk costs nothing
as long as it is full for a while only: the records wait in memory until they can be written.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from traintime.errors import StorageError
from traintime.ledger.atomic import refused_writes_explained, write_bytes_atomically

LARGE = 8 * 2**20
MOST_WAITING_BYTES = 16 * 2**20
"""Some hours of a run's records; those that come after are lost."""


def read_records(
    path: Path,
    say: Callable[[str], None] | None = None,
    needed: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, if there is one, without the lines that are damaged.

    Args:
        path: The file.
        say: Told in one sentence which lines were left out; a last one cut short by a kill is
            not worth a word.
        needed: Keys without which a record counts as damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    damaged: list[int] = []
    for number, line in enumerate(lines, 1):
        record = _parse(line)
        if record is not None and all(key in record for key in needed):
            yield record
        elif line and number < len(lines):
            damaged.append(number)
    if damaged and say:
        which = ", ".join(str(number) for number in damaged[:5]) + ", ..." * (len(damaged) > 5)
        say(f"{path.name} is damaged in line {which}; the other lines are used")


def forget_after(
    path: Path, key: str, last: float, say: Callable[[str], None] | None = None
) -> None:
    """Drop the records whose `key` is beyond what is resumed from, and all that is damaged.

    Of a large file only the end is looked at, as the values grow along it: weeks of records would
    take minutes.

    Raises:
        StorageError: The disk refused; the file is as it was.
    """
    with refused_writes_explained(path):
        if path.exists() and path.stat().st_size > LARGE and _cut_off(path, key, last):
            return
    kept = (record for record in read_records(path, say, {key}) if _is_at_most(record[key], last))
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_bytes_atomically(path, text.encode())


def _cut_off(path: Path, key: str, last: float) -> bool:
    """Cut a file off behind the last record up to a value; say whether one was found."""
    size, length = path.stat().st_size, LARGE // 4
    while length < size:
        with path.open("r+b") as file:
            file.seek(size - length)
            file.readline()  # whose beginning is missing
            end = file.tell()
            kept = None
            for line in file:
                end += len(line)
                record = _parse(line)
                if record is not None and _is_at_most(record.get(key), last):
                    kept = end
            if kept is not None:
                file.truncate(kept)
                os.fsync(file.fileno())
                return True
        length *= 4
    return False


class RecordFile:
    """A growing file of records, each handed to the system as soon as it is written.

    Args:
        path: The file; records are added to what it holds. The first one opens it.

    Attributes:
        error: Why the disk refuses at the moment; None while all is well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.FileIO | None = None
        self._waiting = bytearray()
        self.error: StorageError | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Write a record; while the disk refuses, keep it and try again with the next one."""
        if len(self._waiting) < MOST_WAITING_BYTES:
            self._waiting += json.dumps(record).encode() + b"\n"
        try:
            self._write()
            self.error = None
        except StorageError as error:
            self.error = error

    def close(self) -> None:
        """Write through to the disk.

        Raises:
            StorageError: The disk refused; records are lost.
        """
        try:
            if self._waiting:
                self._write()
            if self._file:
                with refused_writes_explained(self._path):
                    os.fsync(self._file.fileno())
        finally:
            if self._file:
                self._file.close()

    def _write(self) -> None:
        with refused_writes_explained(self._path):
            if self._file is None:
                self._file = self._path.open("a+b", buffering=0)
                if _is_cut_short(self._file):
                    self._waiting[:0] = b"\n"
            elif not self._path.exists():
                raise StorageError(f"'{self._path}' was deleted while the run went on")
            while self._waiting:
                # A disk that fills up takes a part; the rest follows where that ended.
                del self._waiting[: self._file.write(self._waiting)]


def _is_cut_short(file: io.FileIO) -> bool:
    """Say whether a kill left the last line without its end."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", record) if isinstance(record, dict) else None


def _is_at_most(value: object, last: float) -> bool:
    """Compare a value; one that is no number has been damaged."""
    return isinstance(value, int | float) and value <= last
