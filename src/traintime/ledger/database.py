"""The ledger: one row per run, with what was forecast and what it took.

The file is versioned by SQLite's `user_version`. Columns are only ever added, each with a default
or NULL, so that an older traintime can still read and write what a newer one has migrated.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from traintime.errors import StorageError

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    name TEXT PRIMARY KEY,
    folder TEXT NOT NULL,
    began TEXT NOT NULL,
    status TEXT NOT NULL,
    data TEXT NOT NULL,
    model TEXT NOT NULL,
    target TEXT,
    machine TEXT NOT NULL,
    evidence TEXT NOT NULL,
    forecast_s REAL NOT NULL,
    forecast_low_s REAL NOT NULL,
    forecast_high_s REAL NOT NULL,
    forecast_step_s REAL NOT NULL,
    total_s REAL,
    step_s REAL,
    accuracy REAL
)
"""
"""Of version 0; what came later is added to every ledger, new or old."""
VERSION = 1
ADDED = {
    "device": "TEXT",
    "execution": "TEXT",
    "batch_size": "INTEGER",
    "parameters": "INTEGER",
    "software": "TEXT",
    "uncorrected_step_s": "REAL",
    "num_processes": "INTEGER NOT NULL DEFAULT 1",
}
"""Columns since version 0, with their types."""
PATIENCE_S = 0.1
"""How long a read that is not worth waiting for waits for a locked ledger."""


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


COLUMNS = tuple(field.name for field in fields(LedgerRow))
FINISHED = f"""
SELECT {", ".join(COLUMNS)} FROM runs
WHERE machine = ? AND device = ? AND software = ? AND num_processes = 1 AND total_s IS NOT NULL
AND typeof(step_s) = 'real' AND typeof(uncorrected_step_s) = 'real'
ORDER BY began DESC LIMIT 1000
"""  # noqa: S608 - names from our own dataclass


class Ledger:
    """All runs that this user made.

    Args:
        path: The SQLite file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, row: LedgerRow) -> None:
        """Add a run, or replace what was known of it.

        Raises:
            StorageError: The file cannot be written.
        """
        marks = ", ".join("?" * len(COLUMNS))
        with self._connection() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO runs ({', '.join(COLUMNS)}) VALUES ({marks})",  # noqa: S608 - names from our own dataclass
                astuple(row),
            )

    def rows(self) -> list[LedgerRow]:
        """Return all runs, the newest first."""
        with self._connection() as connection:
            found = connection.execute(
                f"SELECT {', '.join(COLUMNS)} FROM runs ORDER BY began DESC, rowid DESC"  # noqa: S608
            )
            return [LedgerRow(*values) for values in found]

    def finished(self, machine: str, device: str, software: str) -> list[LedgerRow]:
        """Return the runs that one process each brought to their end, the newest first.

        It makes no file, changes none, and waits for nobody; runs of versions that kept less are
        left out.

        Args:
            machine: As in the rows.
            device: As in the rows.
            software: As in the rows.

        Raises:
            StorageError: The file is locked, or cannot be read.
        """
        try:
            if not self._path.is_file():
                return []
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE_S)) as connection:
                if _version(connection) < VERSION:
                    return []
                found = connection.execute(FINISHED, (machine, device, software))
                return [LedgerRow(*values) for values in found]
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def delete(self, name: str) -> None:
        """Forget a run; its folder is not touched."""
        with self._connection() as connection:
            connection.execute("DELETE FROM runs WHERE name = ?", (name,))

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30)
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error
        try:
            with connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(SCHEMA)
                if _version(connection) < VERSION:
                    _migrate(connection)
                yield connection
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            connection.close()

    def _explained(self, error: Exception) -> StorageError:
        return StorageError(
            f"The ledger '{self._path}' cannot be used ({error}). Move it away to start a new one: "
            f"mv '{self._path}' '{self._path}.old'"
        )


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    """Add the columns that an older ledger lacks: all of them, or none if it is interrupted."""
    connection.execute("BEGIN IMMEDIATE")  # another process may be migrating: look after it has
    present = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
    for name, kind in ADDED.items():
        if name not in present:
            connection.execute(f"ALTER TABLE runs ADD COLUMN {name} {kind}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.commit()
