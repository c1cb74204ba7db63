import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from traintime.errors import StorageError
from traintime.ledger.database import COLUMNS, Ledger

from .rows import ROW

WRITE_TEN = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.ledger.rows import ROW
from traintime.ledger.database import Ledger

for number in range(10):
    Ledger(Path(sys.argv[1])).put(replace(ROW, name=f"{sys.argv[2]}-{number}"))
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "new" / "ledger.sqlite")


def names(ledger: Ledger) -> list[str]:
    return [row.name for row in ledger.rows()]


def test_a_ledger_begins_empty(ledger: Ledger):
    assert ledger.rows() == []


def test_a_row_comes_back_as_it_was_put(ledger: Ledger):
    done = replace(ROW, name="done", status="reached", total_s=19.6, step_s=0.019, accuracy=0.99)
    without_target = replace(ROW, target=None)
    ledger.put(done)
    ledger.put(without_target)
    assert ledger.rows() == [without_target, done]


def test_a_row_of_the_same_name_is_replaced(ledger: Ledger):
    ledger.put(ROW)
    ledger.put(replace(ROW, status="reached", total_s=19.6))
    assert ledger.rows() == [replace(ROW, status="reached", total_s=19.6)]


def test_the_newest_run_comes_first_also_within_a_second(ledger: Ledger):
    for name in ("a", "c", "b"):
        ledger.put(replace(ROW, name=name))
    ledger.put(replace(ROW, name="a", status="finished"))
    assert names(ledger) == ["b", "c", "a"]


def test_the_newest_run_comes_first_although_the_clock_was_set_back(ledger: Ledger):
    for name, hour in (("first", 8), ("after the clock was set", 7), ("last", 7)):
        ledger.put(replace(ROW, name=name, began=f"2025-11-20T0{hour}:00:00"))
    assert names(ledger) == ["last", "after the clock was set", "first"]
    assert ledger.names(2) == ["last", "after the clock was set"]


def test_some_rows_can_be_had_without_the_others(ledger: Ledger):
    rows = [replace(ROW, name=str(number)) for number in range(5)]
    for row in rows:
        ledger.put(row)
    ledger.put(replace(rows[2], status="stopped"))
    assert ledger.rows(2) == [rows[4], rows[3]]
    assert ledger.row("1") == rows[1]
    assert ledger.row("5") is None
    assert ledger.running(3) == [rows[4], rows[3], rows[1]]
    assert ledger.count() == 5


def test_looking_makes_no_ledger(ledger: Ledger, tmp_path: Path):
    assert (ledger.rows(), ledger.row("run"), ledger.names(9), ledger.count()) == ([], None, [], 0)
    assert ledger.summary("this").runs == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_put_is_synced_to_the_disk(ledger: Ledger):
    with ledger._writing() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_deleted_row_is_forgotten_and_the_others_stay(ledger: Ledger):
    for name in ("a", "b"):
        ledger.put(replace(ROW, name=name))
    ledger.delete("a")
    ledger.delete("never there")
    assert names(ledger) == ["b"]


def test_names_are_never_taken_for_commands(ledger: Ledger):
    odd = "'; DROP TABLE runs; --"
    ledger.put(replace(ROW, name=odd))
    ledger.delete("' OR '1'='1")
    assert names(ledger) == [odd]


def test_four_processes_that_write_at_once_lose_nothing(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_TEN, path, str(number)],
            cwd=Path(__file__).parents[2],
        )
        for number in range(4)
    ]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0, 0]
    assert sorted(names(Ledger(path))) == sorted(f"{w}-{n}" for w in range(4) for n in range(10))


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 99, b"SQLite format 3\0"]
)
def test_a_damaged_ledger_says_how_to_start_a_new_one(tmp_path: Path, content: bytes):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    ledger = Ledger(path)
    for use in (ledger.rows, lambda: ledger.put(ROW), lambda: ledger.finished(*PLACE)):
        with pytest.raises(StorageError) as caught:
            use()
        assert f"The ledger '{path}' cannot be used" in str(caught.value)
        assert f"mv '{path}' '{path}.old'" in str(caught.value)


def test_a_ledger_that_was_moved_away_as_told_begins_anew(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"garbage" * 999)
    path.rename(f"{path}.old")
    Ledger(path).put(ROW)
    assert Ledger(path).rows() == [ROW]


def test_a_ledger_that_cannot_be_made_is_a_storage_error(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="cannot be used"):
        Ledger(tmp_path / "home" / "ledger.sqlite").put(ROW)


VERSION_0 = """
CREATE TABLE runs (name TEXT PRIMARY KEY, folder TEXT NOT NULL, began TEXT NOT NULL,
    status TEXT NOT NULL, data TEXT NOT NULL, model TEXT NOT NULL, target TEXT,
    machine TEXT NOT NULL, evidence TEXT NOT NULL, forecast_s REAL NOT NULL,
    forecast_low_s REAL NOT NULL, forecast_high_s REAL NOT NULL, forecast_step_s REAL NOT NULL,
    total_s REAL, step_s REAL, accuracy REAL)
"""
PUT_0 = "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DONE = replace(
    ROW,
    status="finished",
    total_s=19.6,
    step_s=0.019,
    device="cpu",
    execution="cpu, fp32, contiguous",
    batch_size=64,
    parameters=61_706,
    software="traintime 0.1.0",
    uncorrected_step_s=0.018,
)
PLACE = (DONE.machine, "cpu", "traintime 0.1.0")


@pytest.fixture
def old_path(tmp_path: Path) -> Path:
    """A ledger as the first version made it, with a finished run."""
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(VERSION_0)
        connection.execute(PUT_0, astuple(replace(ROW, total_s=19.6, step_s=0.019))[:16])
        connection.commit()
    return path


def test_an_old_ledger_keeps_its_runs_and_takes_new_ones(old_path: Path):
    old = replace(ROW, total_s=19.6, step_s=0.019)
    new = replace(DONE, name="new")
    assert Ledger(old_path).rows() == [old]
    Ledger(old_path).put(new)
    assert Ledger(old_path).rows() == [new, old]
    assert Ledger(old_path).finished(*PLACE) == [new]


@pytest.mark.parametrize("num_columns", [16, 23], ids=["version 0", "version 1"])
def test_an_older_version_can_go_on_with_a_migrated_ledger(old_path: Path, num_columns: int):
    Ledger(old_path).put(DONE)
    columns = COLUMNS[:num_columns]
    marks = ", ".join("?" * num_columns)
    put = f"INSERT OR REPLACE INTO runs ({', '.join(columns)}) VALUES ({marks})"
    with closing(sqlite3.connect(old_path)) as connection:
        connection.execute(put, astuple(replace(DONE, name="by the old one"))[:num_columns])
        connection.commit()
    assert names(Ledger(old_path)) == ["by the old one", "run"]
    assert DONE in Ledger(old_path).finished(*PLACE)
    assert Ledger(old_path).summary(DONE.machine).forecasts.runs == 2


def test_rows_of_an_older_version_are_in_the_summary(old_path: Path):
    with closing(sqlite3.connect(old_path)) as connection:
        connection.execute("UPDATE runs SET status = 'finished', forecast_s = 2 * total_s")
        connection.commit()
    summary = Ledger(old_path).summary(ROW.machine)
    assert summary.forecasts.median_error == 1.0


def test_a_ledger_whose_triggers_judged_changed_runs_judges_them_no_more(old_path: Path):
    Ledger(old_path).put(DONE)
    with closing(sqlite3.connect(old_path)) as connection:  # as version 2 left it
        for name, event in (("judge_added", "INSERT"), ("judge_changed", "UPDATE OF total_s")):
            connection.execute(f"DROP TRIGGER {name}")
            connection.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON runs "
                "BEGIN UPDATE runs SET error = 4.4, within = 0 WHERE rowid = NEW.rowid; END"
            )
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    Ledger(old_path).put(replace(DONE, name="steered", is_changed=True))
    assert Ledger(old_path).summary(ROW.machine).forecasts.runs == 1


def test_four_processes_that_migrate_at_once_lose_nothing(old_path: Path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_TEN, old_path, str(number)],
            cwd=Path(__file__).parents[2],
        )
        for number in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    assert len(names(Ledger(old_path))) == 1 + 40


def test_an_old_ledger_has_no_finished_runs_and_is_left_as_it_is(old_path: Path):
    before = old_path.read_bytes()
    assert Ledger(old_path).finished(*PLACE) == []
    assert old_path.read_bytes() == before


def test_finished_runs_are_those_of_one_process_in_that_place(ledger: Ledger):
    later = replace(DONE, name="later", began="2025-11-20T09:00:00")
    for row in (
        DONE,
        later,
        replace(DONE, name="resumed", num_processes=2),
        replace(DONE, name="steered", is_changed=True),
        replace(DONE, name="going on", total_s=None, step_s=None),
        replace(DONE, name="too short for a step time", step_s=None),
        replace(DONE, name="elsewhere", machine="Cray-1 x1"),
        replace(DONE, name="on the GPU", device="cuda:0"),
        replace(DONE, name="before", software="traintime 0.0.9"),
        replace(DONE, name="odd", step_s="soon"),
    ):
        ledger.put(row)
    assert ledger.finished(*PLACE) == [later, DONE]


def test_looking_for_finished_runs_makes_no_ledger(ledger: Ledger, tmp_path: Path):
    assert ledger.finished(*PLACE) == []
    assert list(tmp_path.iterdir()) == []


def test_a_locked_ledger_is_soon_given_up(ledger: Ledger, tmp_path: Path):
    ledger.put(DONE)
    path = tmp_path / "new" / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("DELETE FROM runs")
        with pytest.raises(StorageError, match=r"locked\).*wait for that, and type the same again"):
            ledger.finished(*PLACE)
        other.rollback()


def test_the_ended_runs_of_a_job_come_newest_first(ledger: Ledger):
    ended = replace(ROW, status="target reached", batch_size=64)
    for name, changed in {
        "first": {},
        "running": {"status": "running"},
        "steered": {"is_changed": True},
        "other batch": {"batch_size": 32},
        "other model": {"model": "mlp"},
        "last": {"status": "stopped early"},
    }.items():
        ledger.put(replace(ended, name=name, **changed))
    found = ledger.ended(ended.data, ended.model, 64, 10)
    assert [row.name for row in found] == ["last", "first"]
    assert len(ledger.ended(ended.data, ended.model, 64, 1)) == 1


def test_a_ledger_that_is_not_there_has_no_ended_runs(ledger: Ledger):
    assert ledger.ended("mnist", "lenet", 64, 10) == []
