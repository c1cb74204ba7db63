"""Real processes that write to one ledger, and are killed while they do."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from traintime.ledger.database import Ledger

ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.ledger.rows import ROW
from traintime.ledger.database import Ledger

ledger, name = Ledger(Path(sys.argv[1])), sys.argv[2]
for number in range(1_000_000):
    row = replace(ROW, name=f"{name}-{number}", step_s=float(number), model="m" * 2000)
    ledger.put(row)
    ledger.put(replace(row, status="finished", total_s=float(number + 1)))
    print(number, flush=True)
"""


def start(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, path, name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def kill(writer: subprocess.Popen[str]) -> int:
    """Kill a writer, and return how many rows it had been told are kept."""
    assert writer.poll() is None, "a writer failed"
    writer.kill()
    acknowledged, _ = writer.communicate()
    return acknowledged.count("\n")


def assert_nothing_is_lost(path: Path, kept: dict[str, int]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = {row.name: row for row in Ledger(path).rows()}
    for name, count in kept.items():
        for number in range(count):
            row = rows.pop(f"{name}-{number}")
            assert (row.status, row.step_s, row.total_s) == ("finished", number, number + 1)
    # Each may have written one more that it could not tell of.
    assert len(rows) <= len(kept)
    finished = sum(kept.values()) + sum(row.status == "finished" for row in rows.values())
    assert Ledger(path).summary("").forecasts.runs == finished


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writers = {str(number): start(path, str(number)) for number in range(2)}
    for writer in writers.values():
        assert writer.stdout.readline()  # they are at it
    time.sleep(0.3)
    kept = {name: 1 + kill(writer) for name, writer in writers.items()}
    assert_nothing_is_lost(path, kept)


@pytest.mark.slow
def test_eight_writers_killed_at_random_lose_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    path = tmp_path / "ledger.sqlite"
    chance = random.Random(1)
    writers = {str(number): start(path, str(number)) for number in range(8)}
    kept: dict[str, int] = {}
    for following in range(8, 40):
        time.sleep(chance.uniform(0, 1.5))
        name = chance.choice(sorted(writers))
        kept[name] = kill(writers.pop(name))
        writers[str(following)] = start(path, str(following))
    time.sleep(3)
    kept |= {name: kill(writer) for name, writer in writers.items()}
    assert sum(kept.values()) > 100
    assert_nothing_is_lost(path, kept)
    record_property("kills", len(kept))
    record_property("rows_acknowledged", sum(kept.values()))


@pytest.mark.slow
def test_eight_processes_that_make_the_ledger_at_once_lose_nothing(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.sqlite"
        writers = {str(number): start(path, str(number)) for number in range(8)}
        for writer in writers.values():
            assert writer.stdout.readline()
        assert_nothing_is_lost(path, {name: 1 + kill(writer) for name, writer in writers.items()})
