"""What the ledger's rows say together: how many runs, and how good their forecasts were."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MOST_MODELS = 20


@dataclass(frozen=True)
class TrackRecord:
    """Forecasts of a total time, held against what finished runs took.

    Args:
        runs: That finished as was forecast, neither changed, nor stopped early or by a failure.
        within: Of them, those whose time lay in the forecast 80 % interval.
        median_error: Median of |forecast / fact - 1|; None without runs.
        p90_error: Their 90th percentile.
    """

    runs: int
    within: int
    median_error: float | None
    p90_error: float | None


@dataclass(frozen=True)
class LedgerSummary:
    """What the ledger knows.

    Args:
        path: The file.
        size_bytes: Of the file and what was not yet merged into it.
        runs: How many.
        by_status: How many of each, most first.
        first_began: When the first run began, in the machine's local time.
        last_began: When the last one did.
        forecasts: How good they were, all together.
        machine: This one.
        by_model: How good they were here, by model; those with most runs.
    """

    path: Path
    size_bytes: int
    runs: int
    by_status: dict[str, int]
    first_began: str | None
    last_began: str | None
    forecasts: TrackRecord
    machine: str
    by_model: dict[str, TrackRecord]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "path": str(self.path)}


def summarize(connection: sqlite3.Connection, path: Path, machine: str) -> LedgerSummary:
    """Return what an open ledger knows.

    Args:
        connection: Of this version.
        path: Of its file.
        machine: Whose runs are told apart by model.
    """
    counts = connection.execute(
        "SELECT status, count(*) FROM runs GROUP BY status ORDER BY 2 DESC, 1"
    ).fetchall()
    of_models = connection.execute(
        "SELECT model, count(*), sum(within) FROM runs WHERE machine = ? AND error IS NOT NULL "
        "GROUP BY model ORDER BY 2 DESC, 1 LIMIT ?",
        (machine, MOST_MODELS),
    ).fetchall()
    runs, within = connection.execute(
        "SELECT count(*), sum(within) FROM runs WHERE error IS NOT NULL"
    ).fetchone()
    return LedgerSummary(
        path=path,
        size_bytes=_size(path),
        runs=sum(count for _, count in counts),
        by_status=dict(counts),
        first_began=_began(connection, "ASC"),
        last_began=_began(connection, "DESC"),
        forecasts=_track_record(connection, runs, within or 0),
        machine=machine,
        by_model={
            model: _track_record(connection, count, inside, machine, model)
            for model, count, inside in of_models
        },
    )


def _began(connection: sqlite3.Connection, order: str) -> str | None:
    """Return when the first or the last run began; a run of another ledger may not say when."""
    query = f"SELECT began FROM runs WHERE began <> '' ORDER BY rowid {order} LIMIT 1"  # noqa: S608
    found = connection.execute(query).fetchone()
    return found[0] if found else None


MEDIAN = 0.5


def _track_record(
    connection: sqlite3.Connection, runs: int, within: int, *machine_and_model: str
) -> TrackRecord:
    median, p90 = (
        _quantile(connection, share, runs, machine_and_model) if runs else None
        for share in (MEDIAN, 0.9)
    )
    return TrackRecord(runs, within, median, p90)


def _quantile(
    connection: sqlite3.Connection, share: float, runs: int, machine_and_model: tuple[str, ...]
) -> float:
    """Return a quantile of the errors; an index sorts them.

    The median lies in proportion between its neighbours; of others it is the least error that at
    least so many runs keep within.
    """
    where = "machine = ? AND model = ? AND" if machine_and_model else ""
    position = share * (runs - 1) if share == MEDIAN else math.ceil(share * runs - 1e-9) - 1
    found = connection.execute(
        f"SELECT error FROM runs WHERE {where} error IS NOT NULL ORDER BY error LIMIT 2 OFFSET ?",  # noqa: S608
        (*machine_and_model, math.floor(position)),
    ).fetchall()
    (below,), (above,) = found[0], found[-1]
    return below + (above - below) * (position % 1)


def _size(path: Path) -> int:
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
