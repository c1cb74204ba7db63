"""The ledger verb: what all runs say together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from traintime.hardware.machine import detect_machine
from traintime.ledger.database import Ledger
from traintime.ledger.paths import ledger_path
from traintime.ledger.run_folder import RunFolder
from traintime.ledger.summary import LedgerSummary

MOST_LOOKED_AT = 1000
"""Runs that say they are running, whose folders are opened to see whether that is so."""


def ledger_summary() -> LedgerSummary:
    """Return what the ledger knows: how many runs, and how good their forecasts were.

    A run that says it is running, and whose process is gone, was interrupted. Only the newest
    thousand are looked at; others are counted as "running or interrupted".

    Raises:
        StorageError: The ledger cannot be read.
    """
    path = ledger_path()
    ledger = Ledger(path)
    summary = ledger.summary(detect_machine(path.parent).key)
    rows = ledger.running(MOST_LOOKED_AT)
    running = sum(RunFolder(Path(row.folder)).is_running for row in rows)
    counts = {
        **summary.by_status,
        "running": running,
        "interrupted": len(rows) - running,
        "running or interrupted": summary.by_status.get("running", 0) - len(rows),
    }
    most_first = sorted(counts.items(), key=lambda count: -count[1])
    by_status = {status: count for status, count in most_first if count > 0}
    return dataclasses.replace(summary, by_status=by_status)
