"""The ledger: one row per run, with what was forecast and what it took."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
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


COLUMNS = tuple(field.name for field in fields(LedgerRow))


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
