import json
from pathlib import Path

import pytest

from traintime.ledger.record_tail import RecordTail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "steps.jsonl"


def write(path: Path, *steps: int, mode: str = "a") -> None:
    with path.open(mode) as file:
        file.writelines(json.dumps({"step": step}) + "\n" for step in steps)


def steps(tail: RecordTail) -> list[int]:
    return [record["step"] for record in tail.read().records]


def test_each_record_is_read_once(path: Path) -> None:
    tail = RecordTail(path)
    assert steps(tail) == []
    write(path, 1, 2)
    assert steps(tail) == [1, 2]
    assert steps(tail) == []
    write(path, 3)
    assert steps(tail) == [3]


def test_line_that_is_being_written_waits_for_its_end(path: Path) -> None:
    tail = RecordTail(path)
    path.write_text('{"step": 1}\n{"st')
    assert steps(tail) == [1]
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert steps(tail) == [2]


def test_line_that_a_crash_cut_short_is_left_out(path: Path) -> None:
    path.write_text('{"step": 1}\n{"st\n[3]\n{"loss": 4}\n{"step": 5}\n')
    assert steps(RecordTail(path, ("step",))) == [1, 5]


def test_file_that_was_replaced_is_read_anew(path: Path) -> None:
    tail = RecordTail(path)
    write(path, 1, 2, 3)
    assert not tail.read().is_anew
    shorter = path.with_name("new")
    write(shorter, 1, 2)
    shorter.replace(path)
    assert tail.read() == ([{"step": 1}, {"step": 2}], True)
    assert not tail.read().is_anew


def test_file_that_was_cut_is_read_anew(path: Path) -> None:
    tail = RecordTail(path)
    write(path, 1, 2, 3)
    tail.read()
    write(path, 1, mode="w")
    assert tail.read() == ([{"step": 1}], True)


def test_file_that_was_taken_away_begins_anew(path: Path) -> None:
    tail = RecordTail(path)
    write(path, 1)
    tail.read()
    path.unlink()
    assert tail.read() == ([], True)
    assert tail.read() == ([], False)


def test_rewound_tail_returns_everything_again(path: Path) -> None:
    tail = RecordTail(path)
    write(path, 1, 2)
    tail.read()
    tail.rewind()
    assert steps(tail) == [1, 2]
