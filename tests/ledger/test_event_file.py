import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from traintime.errors import StorageError
from traintime.ledger import event_file
from traintime.ledger.event_file import EventFile, crc32c

WRITE_UNTIL_KILLED = """
import itertools, sys
from pathlib import Path
from traintime.ledger.event_file import EventFile
file = EventFile(Path(sys.argv[1]), 1)
for step in itertools.count(1):
    file.add_scalars(step, {"loss/train": float(step)})
    print(step, flush=True)
"""


def read(folder: Path) -> EventAccumulator:
    """Read a folder as TensorBoard's own library does, every point of it."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return found.Reload()


def points(folder: Path, tag: str = "loss") -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in read(folder).Scalars(tag)]


def write(folder: Path, first_step: int, values: dict[int, float]) -> None:
    file = EventFile(folder, first_step)
    for step, value in values.items():
        file.add_scalars(step, {"loss": value})
    file.close()


def test_the_checksum_is_that_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4, has more
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_tensorboard_reads_what_was_written(tmp_path: Path):
    before = time.time()
    file = EventFile(tmp_path / "tensorboard", 1)
    file.add_scalars(300, {"loss/train": 0.5, "lr": 2**-20})
    file.add_text(301, "events/spike", "the loss was 7 · went back")
    file.close()
    found = read(tmp_path / "tensorboard")
    (loss,) = found.Scalars("loss/train")
    (lr,) = found.Scalars("lr")
    (text,) = found.Tensors("events/spike")
    assert (loss.step, loss.value) == (300, 0.5)
    assert lr.value == 2**-20
    assert (text.step, text.tensor_proto.string_val[0].decode()) == (
        301,
        "the loss was 7 · went back",
    )
    metadata = found.SummaryMetadata("events/spike")
    assert metadata.plugin_data.plugin_name == "text"
    assert before <= loss.wall_time <= text.wall_time <= time.time()


def test_numbers_that_single_precision_cannot_hold_end_nothing(tmp_path: Path):
    write(tmp_path, 1, {1: 1e300, 2: -1e300, 3: float("nan"), 4: float("inf")})
    values = [value for _, value in points(tmp_path)]
    assert values[:2] == [event_file.FLOAT_MAX, -event_file.FLOAT_MAX]
    assert values[2] != values[2]
    assert len(values) == 4


def test_a_second_file_takes_the_place_of_what_it_repeats(tmp_path: Path):
    write(tmp_path, 1, dict.fromkeys(range(1, 11), 1.0))
    write(tmp_path, 7, {7: 2.0, 9: 2.0})
    assert points(tmp_path) == [*((step, 1.0) for step in range(1, 7)), (7, 2.0), (9, 2.0)]


def test_a_file_can_take_back_what_it_holds(tmp_path: Path):
    with closing(EventFile(tmp_path, 1)) as file:
        for step in (1, 2, 3):
            file.add_scalars(step, {"loss": 1.0})
        file.start(2)
        file.add_scalars(4, {"loss": 2.0})
    assert points(tmp_path) == [(1, 1.0), (4, 2.0)]


def test_files_are_read_in_the_order_in_which_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for now in (2_000_000_000.0, 2_000_000_000.9, 1_000_000_000.0):  # the last clock is behind
        monkeypatch.setattr(time, "time", lambda now=now: now)
        EventFile(tmp_path, 1).close()
    made = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in made] == sorted(path.name for path in made)
    assert len(made) == 3


def test_a_file_of_another_writer_is_no_hindrance(tmp_path: Path):
    (tmp_path / "events.out.tfevents.mine").touch()
    write(tmp_path, 1, {1: 1.0})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_killed_process_leaves_every_step_that_it_had_written(tmp_path: Path):
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while int(process.stdout.readline()) < 1000:
            pass
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
    last = int(rest[-2]) if len(rest) > 1 else 1000
    steps = [step for step, _ in points(tmp_path, "loss/train")]
    assert steps == list(range(1, steps[-1] + 1))
    assert steps[-1] in (last, last + 1)


def test_wherever_a_file_is_cut_the_whole_steps_before_are_read(tmp_path: Path):
    with closing(EventFile(tmp_path / "whole", 1)) as file:
        (path,) = (tmp_path / "whole").iterdir()
        file.add_scalars(1, {"loss": 1.0})
        first = path.stat().st_size
        file.add_scalars(2, {"loss": 2.0})
    content = path.read_bytes()
    for cut in range(first, len(content)):
        (tmp_path / str(cut)).mkdir()
        (tmp_path / str(cut) / path.name).write_bytes(content[:cut])
        assert points(tmp_path / str(cut)) == [(1, 1.0)]


class FillingDisk(io.FileIO):
    """A file on a disk that has some bytes left when it becomes full."""

    left: int | None = None

    def write(self, content: bytes) -> int:
        if self.left is None:
            return super().write(content)
        if not self.left:
            raise OSError(28, "No space left on device")
        part = content[: self.left]
        self.left -= len(part)
        return super().write(part)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[tuple[EventFile, FillingDisk]]:
    with closing(EventFile(tmp_path, 1)) as file:
        file._file.close()
        (path,) = tmp_path.iterdir()
        file._file = FillingDisk(path, "ab")
        yield file, file._file


@pytest.mark.parametrize("left", [0, 1, 20])
def test_a_disk_that_is_full_for_a_while_loses_nothing(on_disk, tmp_path: Path, left: int):
    file, disk = on_disk
    file.add_scalars(1, {"loss": 1.0})
    disk.left = left
    for step in (2, 3):
        file.add_scalars(step, {"loss": 1.0})
    assert points(tmp_path) == [(1, 1.0)]
    disk.left = None
    file.add_scalars(4, {"loss": 1.0})
    assert [step for step, _ in points(tmp_path)] == [1, 2, 3, 4]


def test_a_disk_that_stays_full_costs_no_more_memory_than_said(
    on_disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_file, "MOST_WAITING_BYTES", 100)
    file, disk = on_disk
    disk.left = 0
    for step in range(1, 100):
        file.add_scalars(step, {"loss": 1.0})
    assert len(file._waiting) < 200
    disk.left = None
    file.add_scalars(100, {"loss": 1.0})
    assert [step for step, _ in points(tmp_path)] == [1, 2, 3]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path):
    (tmp_path / "tensorboard").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        EventFile(tmp_path / "tensorboard", 1)
