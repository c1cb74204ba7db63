import json
from pathlib import Path

import pytest

from tests.disks import SmallDisk, small_disk  # noqa: F401
from traintime.errors import StorageError
from traintime.ledger import record_file
from traintime.ledger.record_file import RecordFile, forget_after, read_records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "steps.jsonl"


def steps_in(path: Path) -> list[int]:
    return [record["step"] for record in read_records(path)]


def add(path: Path, *steps: int) -> None:
    file = RecordFile(path)
    for step in steps:
        file.add({"step": step})
    file.close()


def test_records_are_read_in_the_order_they_were_added(path: Path):
    add(path, 0, 1, 2)
    add(path, 3, 4)
    assert steps_in(path) == [0, 1, 2, 3, 4]


def test_a_record_can_be_read_as_soon_as_it_is_added(path: Path):
    file = RecordFile(path)
    file.add({"step": 1})
    assert steps_in(path) == [1]
    file.close()


def test_records_that_were_never_written_are_none(path: Path):
    assert steps_in(path) == []


@pytest.mark.parametrize("last", ['{"step": 3', '{"st', "\x00\x00\x00", '{"step": 3, "loss": 0.'])
def test_a_last_line_cut_short_is_left_out_without_a_word(path: Path, last: str):
    path.write_text(f'{{"step": 1}}\n{{"step": 2}}\n{last}')
    assert list(read_records(path, pytest.fail)) == [{"step": 1}, {"step": 2}]


def test_what_follows_a_line_cut_short_stands_on_a_line_of_its_own(path: Path):
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    add(path, 3, 4)
    assert steps_in(path) == [1, 3, 4]


@pytest.mark.parametrize("byte", [0x00, 0x0A, 0x7B, 0x85, 0xFF])
def test_a_changed_byte_costs_the_line_that_it_is_in(path: Path, byte: int):
    add(path, *range(20))
    content = bytearray(path.read_bytes())
    content[content.index(b'"step": 7') + 1] = byte
    path.write_bytes(content)
    said: list[str] = []
    kept = [record["step"] for record in read_records(path, said.append, needed={"step"})]
    assert kept == [*range(7), *range(8, 20)]
    assert len(said) == 1
    assert said[0].startswith("steps.jsonl is damaged in line 8")
    assert said[0].endswith("; the other lines are used")


def test_many_damaged_lines_are_said_in_one_sentence(path: Path):
    path.write_text("no\n" * 100 + '{"step": 1}\n')
    said: list[str] = []
    assert list(read_records(path, said.append)) == [{"step": 1}]
    assert said == [
        "steps.jsonl is damaged in line 1, 2, 3, 4, 5, ...; the other lines are used",
    ]


def test_what_is_no_record_is_left_out(path: Path):
    path.write_text('7\n"text"\n[1]\n\n{"step": 1}\nnull\n')
    assert steps_in(path) == [1]


def test_records_beyond_the_checkpoint_are_forgotten_and_new_ones_follow(path: Path):
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4')
    forget_after(path, "step", 2)
    add(path, 3)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_a_record_whose_key_is_damaged_is_forgotten_too(path: Path):
    path.write_text('{"step": 1}\n{"stgp": 2}\n{"step": "3"}\n{"step": 4}\n')
    forget_after(path, "step", 9)
    assert steps_in(path) == [1, 4]


def test_forgetting_what_was_never_written_leaves_no_records(path: Path):
    forget_after(path, "elapsed_s", 3.5)
    assert steps_in(path) == []


@pytest.fixture
def on_small_disk(small_disk: SmallDisk) -> tuple[SmallDisk, Path]:  # noqa: F811
    return small_disk, small_disk.path / "steps.jsonl"


def test_records_wait_in_memory_while_the_disk_is_full(on_small_disk: tuple[SmallDisk, Path]):
    disk, path = on_small_disk
    file = RecordFile(path)
    file.add({"step": 1})
    assert file.error is None
    disk.fill()
    for step in range(2, 1000):  # more than what is left of the file's last page
        file.add({"step": step})
    assert "disk is full" in str(file.error)
    disk.free()
    file.add({"step": 1000})
    assert file.error is None
    file.close()
    assert path.read_text() == "".join(json.dumps({"step": n}) + "\n" for n in range(1, 1001))


def test_records_wait_while_the_disk_is_read_only(on_small_disk: tuple[SmallDisk, Path]):
    disk, path = on_small_disk
    add(path, 1)
    disk.make_read_only()
    file = RecordFile(path)
    file.add({"step": 2})
    assert "Read-only file system" in str(file.error)
    with pytest.raises(StorageError, match="Read-only file system"):
        forget_after(path, "step", 0)
    assert steps_in(path) == [1]
    disk.make_writable()
    file.add({"step": 3})
    file.close()
    assert (steps_in(path), file.error) == ([1, 2, 3], None)


def test_a_file_without_records_is_not_made(path: Path):
    RecordFile(path).close()
    assert not path.exists()


def test_a_disk_that_stays_full_is_told_at_the_end(on_small_disk: tuple[SmallDisk, Path]):
    disk, path = on_small_disk
    file = RecordFile(path)
    disk.fill()
    file.add({"step": 1, "long": "x" * 5000})
    with pytest.raises(StorageError, match="disk is full"):
        file.close()


def test_what_waits_in_memory_is_bounded(
    on_small_disk: tuple[SmallDisk, Path], monkeypatch: pytest.MonkeyPatch
):
    disk, path = on_small_disk
    monkeypatch.setattr(record_file, "MOST_WAITING_BYTES", 100_000)
    file = RecordFile(path)
    disk.fill()
    for step in range(20_000):
        file.add({"step": step})
    assert len(file._waiting) < 100_100
    disk.free()
    file.close()
    kept = steps_in(path)
    assert kept == list(range(len(kept)))
    assert len(kept) > 5000


def test_a_deleted_file_is_told(path: Path):
    file = RecordFile(path)
    file.add({"step": 1})
    path.unlink()
    file.add({"step": 2})
    assert "was deleted while the run went on" in str(file.error)
    with pytest.raises(StorageError, match="deleted"):
        file.close()


@pytest.mark.parametrize("last", [2, 500, 7_998, 9_000])
def test_of_a_large_file_the_end_is_cut_off(
    last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "steps.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.1}) + "\n" for step in range(8_000)]
    path.write_text("".join(lines) + '{"step": 7999, "lo')
    monkeypatch.setattr(record_file, "LARGE", 4096)
    forget_after(path, "step", last)
    assert path.read_text() == "".join(lines[: last + 1])
