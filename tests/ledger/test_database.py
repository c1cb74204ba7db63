import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from traintime.errors import StorageError
from traintime.ledger.database import Ledger, LedgerRow

ROW = LedgerRow(
    name="run",
    folder="/runs/run",
    began="2025-11-20T08:00:00",
    status="running",
    data="mnist",
    model="lenet",
    target="accuracy:0.99",
    machine="AMD EPYC x2",
    evidence="measured on this machine",
    forecast_s=21.0,
    forecast_low_s=17.0,
    forecast_high_s=26.0,
    forecast_step_s=0.02,
)
WRITE_TEN = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.ledger.test_database import ROW
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


def test_the_newest_run_comes_first(ledger: Ledger):
    for name, minute in (("b", 2), ("c", 3), ("a", 1), ("later of the same minute", 3)):
        ledger.put(replace(ROW, name=name, began=f"2025-11-20T08:0{minute}:00"))
    assert names(ledger) == ["later of the same minute", "c", "b", "a"]


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
    for use in (Ledger(path).rows, lambda: Ledger(path).put(ROW)):
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
        Ledger(tmp_path / "home" / "ledger.sqlite").rows()
