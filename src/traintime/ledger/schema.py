"""The ledger's tables, and how an older file gets what it lacks.

The file is versioned by SQLite's `user_version`. Columns and indexes are only ever added, each
column with a default or NULL, and triggers need nothing that an older traintime does not write, so
that it can still read and write what a newer one has migrated.
"""

from __future__ import annotations

import sqlite3
from time import monotonic, sleep

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
VERSION = 3
PATIENCE_S = 30.0
"""How long a locked ledger is waited for."""
ADDED = {
    "device": "TEXT",
    "execution": "TEXT",
    "batch_size": "INTEGER",
    "parameters": "INTEGER",
    "software": "TEXT",
    "uncorrected_step_s": "REAL",
    "num_processes": "INTEGER NOT NULL DEFAULT 1",
    "error": "REAL",
    "within": "INTEGER",
    "is_changed": "INTEGER NOT NULL DEFAULT 0",
}
"""Columns since version 0, with their types."""
VERSION_OF_FACTS = 3
"""The first version that keeps what a finished run was forecast under, and whether it kept to it.

A ledger of an earlier one becomes one of this when the next run begins.
"""
IS_DONE = "status IN ('finished', 'target reached') AND total_s > 0 AND NOT is_changed"
"""A run that did what was forecast."""
JUDGE = f"""
UPDATE runs SET
    error = CASE WHEN {IS_DONE} THEN abs(forecast_s / total_s - 1) END,
    within = CASE WHEN {IS_DONE} THEN total_s BETWEEN forecast_low_s AND forecast_high_s END
"""  # noqa: S608 - our own constant
"""Holds a forecast against the fact; triggers do, so that an older traintime's rows have it too."""
LATER = (
    "DROP TRIGGER IF EXISTS judge_added",  # version 2 judged runs that were changed, too
    "DROP TRIGGER IF EXISTS judge_changed",
    f"CREATE TRIGGER judge_added AFTER INSERT ON runs BEGIN {JUDGE} WHERE rowid = NEW.rowid; END",
    "CREATE TRIGGER judge_changed AFTER UPDATE OF "
    "status, total_s, forecast_s, forecast_low_s, forecast_high_s, is_changed ON runs "
    f"BEGIN {JUDGE} WHERE rowid = NEW.rowid; END",
    "CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status)",
    "CREATE INDEX IF NOT EXISTS runs_by_error ON runs (error, within) WHERE error IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS runs_by_model ON runs (machine, model, error, within) "
    "WHERE error IS NOT NULL",
)
"""What makes a summary of a million runs a matter of tenths of a second."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of an open ledger."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Give a new or older ledger all that it lacks, or nothing if that is interrupted.

    Args:
        connection: Without a transaction; several processes may be at it at once.
    """
    _write_ahead(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version_of(connection) < VERSION:  # another process may have been first
            _add_what_is_missing(connection)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Keep a log of writes beside the file, so that readers and writers do not wait for each other.

    SQLite does not wait for another process that is at the same, whatever its time limit is.
    """
    given_up_at = monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if monotonic() > given_up_at:
                raise
            sleep(0.02)


def _add_what_is_missing(connection: sqlite3.Connection) -> None:
    connection.execute(SCHEMA)
    present = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
    for name, kind in ADDED.items():
        if name not in present:
            connection.execute(f"ALTER TABLE runs ADD COLUMN {name} {kind}")
    connection.execute(f"{JUDGE} WHERE {IS_DONE}")
    for statement in LATER:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
