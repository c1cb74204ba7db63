"""The ledger: one row per run, with what was forecast and what it took."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from traintime.errors import StorageError
from traintime.ledger.schema import (
    PATIENCE_S,
    VERSION,
    VERSION_OF_FACTS,
    migrate,
    version_of,
)
from traintime.ledger.summary import LedgerSummary, summarize

HASTE_S = 0.1
"""And how long by a read that is not worth waiting for."""
MOST_FINISHED = 1000
"""Runs that a correction is made of."""


@dataclass(frozen=True)
class LedgerRow:
    """One run: forecast and fact.

    Args:
        name: Of the run folder.
        folder: Its absolute path.
        began: ISO time.
        status: "running", or how it ended.
        data: Data set.
        model: Network.
        target: As in the recipe.
        machine: `Machine.key`.
        evidence: What the forecast stood on.
        forecast_s: Forecast total, median.
        forecast_low_s: Lower end of its 80 % interval.
        forecast_high_s: Upper end.
        forecast_step_s: Forecast time of a step.
        total_s: What it took.
        step_s: Measured median time of a step.
        accuracy: On the test set.
        device: "cpu" or "cuda:N".
        execution: How it is computed, as `Execution` says it.
        batch_size: Of an optimizer step.
        parameters: Of the network.
        software: Versions and measured rates that the forecast stood on.
        uncorrected_step_s: Forecast time of a step before finished runs corrected it.
        num_processes: That worked on it; more than 1 if it was resumed.
        is_changed: Whether it was changed or paused on its way, and so is not what was forecast.
    """

    name: str
    folder: str
    began: str
    status: str
    data: str
    model: str
    target: str | None
    machine: str
    evidence: str
    forecast_s: float
    forecast_low_s: float
    forecast_high_s: float
    forecast_step_s: float
    total_s: float | None = None
    step_s: float | None = None
    accuracy: float | None = None
    device: str | None = None
    execution: str | None = None
    batch_size: int | None = None
    parameters: int | None = None
    software: str | None = None
    uncorrected_step_s: float | None = None
    num_processes: int = 1
    is_changed: bool = False


COLUMNS = tuple(field.name for field in fields(LedgerRow))
MARKS = ", ".join("?" * len(COLUMNS))
CHANGED = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
# What is put again keeps its rowid, so these count the runs in the order in which they began,
# also those of one second, and those before and after the clock was set back.
PUT = f"""
INSERT INTO runs ({", ".join(COLUMNS)}) VALUES ({MARKS})
ON CONFLICT (name) DO UPDATE SET {CHANGED}
"""  # noqa: S608 - names from our own dataclass
SELECT = f"SELECT {', '.join(COLUMNS)} FROM runs"  # noqa: S608
NEWEST = "ORDER BY rowid DESC LIMIT ?"
FINISHED = """
WHERE machine = ? AND device = ? AND software = ? AND num_processes = 1 AND NOT is_changed
AND total_s IS NOT NULL AND typeof(step_s) = 'real' AND typeof(uncorrected_step_s) = 'real'
"""
LATELY = 1000
"""Runs among which those of one recipe are looked for."""
ENDED = f"""
FROM ({SELECT} ORDER BY rowid DESC LIMIT {LATELY})
WHERE data = ? AND model = ? AND batch_size = ? AND NOT is_changed
AND status IN ('finished', 'target reached', 'stopped early') LIMIT ?
"""


def _row(values: tuple[Any, ...]) -> LedgerRow:
    """Return a row as it was put; SQLite has no truth values."""
    row = LedgerRow(*values)
    return replace(row, is_changed=bool(row.is_changed))


class Ledger:
    """All runs that this user made.

    What `put` has returned from is on the disk: no crash, of a process or of the power, loses it.

    Args:
        path: The SQLite file; the first `put` makes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, row: LedgerRow) -> None:
        """Add a run, or replace what was known of it.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._writing() as connection:
            connection.execute(PUT, astuple(row))

    def delete(self, name: str) -> None:
        """Forget a run; its folder is not touched."""
        with self._writing() as connection:
            connection.execute("DELETE FROM runs WHERE name = ?", (name,))

    def rows(self, limit: int | None = None) -> list[LedgerRow]:
        """Return runs, the newest first: all, or at most so many."""
        return self._select(NEWEST, -1 if limit is None else limit)

    def row(self, name: str) -> LedgerRow | None:
        """Return the run of a name."""
        return next(iter(self._select("WHERE name = ?", name)), None)

    def running(self, limit: int) -> list[LedgerRow]:
        """Return the newest runs that say they are running."""
        return self._select(f"WHERE status = 'running' {NEWEST}", limit)

    def names(self, limit: int) -> list[str]:
        """Return the names of the newest runs."""
        with self._reading() as connection:
            found = connection.execute(f"SELECT name FROM runs {NEWEST}", (limit,))  # noqa: S608
            return [name for (name,) in found]

    def count(self) -> int:
        """Return how many runs there are."""
        with self._reading() as connection:
            (number,) = connection.execute("SELECT count(*) FROM runs").fetchone()
            return int(number)

    def summary(self, machine: str) -> LedgerSummary:
        """Return what the ledger knows, in figures.

        Args:
            machine: Whose runs are told apart by model.
        """
        with self._reading() as connection:
            return summarize(connection, self._path, machine)

    def finished(self, machine: str, device: str, software: str) -> list[LedgerRow]:
        """Return the runs that one process each brought to their end unchanged, the newest first.

        It makes no file, changes none, and waits for nobody; runs of versions that kept less are
        left out.

        Args:
            machine: As in the rows.
            device: As in the rows.
            software: As in the rows.

        Raises:
            StorageError: The file is locked, or cannot be read.
        """
        return self._hastily(
            f"{SELECT} {FINISHED} {NEWEST}", machine, device, software, MOST_FINISHED
        )

    def ended(self, data: str, model: str, batch_size: int, limit: int) -> list[LedgerRow]:
        """Return runs of about one job that came to an end unchanged, the newest first.

        Like `finished`, it waits for nobody; only the newest of all runs are looked through.

        Raises:
            StorageError: The file is locked, or cannot be read.
        """
        columns = ", ".join(COLUMNS)
        return self._hastily(f"SELECT {columns} {ENDED}", data, model, batch_size, limit)

    def _hastily(self, query: str, *values: object) -> list[LedgerRow]:
        try:
            if not self._path.is_file():
                return []
            with closing(self._open_to_read(HASTE_S)) as connection:
                if version_of(connection) < VERSION_OF_FACTS:
                    return []
                return [_row(found) for found in connection.execute(query, values)]
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def _select(self, which: str, *values: object) -> list[LedgerRow]:
        with self._reading() as connection:
            return [_row(found) for found in connection.execute(f"{SELECT} {which}", values)]

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        """Open the file such that nothing in it can change; where there is none, read nothing."""
        try:
            if not self._path.exists():
                with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                    migrate(connection)
                    yield connection
                return
            self._bring_up_to_date()
            with closing(self._open_to_read(PATIENCE_S)) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def _bring_up_to_date(self) -> None:
        with closing(self._open_to_read(PATIENCE_S)) as connection:
            is_old = version_of(connection) < VERSION
        # No reader is open now, so the writer leaves no long log behind for readers to go through.
        if is_old:
            with suppress(StorageError), self._writing():  # one that is not ours is read as it is
                pass

    def _open_to_read(self, patience_s: float) -> sqlite3.Connection:
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=patience_s)

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """Open the file, migrated; each statement is a transaction of its own."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(
                sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA synchronous=FULL")  # some systems build SQLite with less
                connection.execute("PRAGMA fullfsync=ON")  # macOS keeps its own promise only so
                if version_of(connection) < VERSION:
                    migrate(connection)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> StorageError:
        said = f"The ledger '{self._path}' cannot be used ({error})."
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                next_step = "Another process has locked it; wait for that, and type the same again"
            case sqlite3.SQLITE_FULL:
                next_step = f"Free some space; see it with: df -h '{self._path.parent}'"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
                next_step = f"See who may: ls -ld '{self._path.parent}' '{self._path}'"
            case _:
                next_step = f"Move it away to start a new one: mv '{self._path}' '{self._path}.old'"
        return StorageError(f"{said} {next_step}")
