import os
import signal
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from traintime.data.gather import Gatherer, GatherHere
from traintime.data.gather_ahead import MOST_ENDS, GatherAhead
from traintime.data.image_store import ImageStore
from traintime.errors import DataUnavailableError, InputError

from .pictures import cut_short
from .stores import SIDE, array_of, store_of
from .test_own_images import rot

BATCHES = [np.arange(start, start + 5) for start in range(0, 40, 5)]
PATIENCE_S = 20


class Witness:
    """Keeps what is told, and lets the image of the next row stand in."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.asked: list[tuple[int, str]] = []

    def tell(self, kind: str, message: str) -> None:
        self.told.append((kind, message))

    def stand_in(self, row: int, why: str) -> int:
        self.asked.append((row, why))
        return row + 1

    def gatherer(self, store: ImageStore, workers: int) -> Gatherer:
        asked = (self.tell, self.stand_in, nullcontext)
        gatherer = GatherAhead(store, 5, workers, *asked) if workers else GatherHere(store, *asked)
        gatherer.plan(BATCHES)
        return gatherer


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture(params=[True, False], ids=["decoded", "files"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return store_of(tmp_path / "photos", array=request.param)


def wait_until(happened: Any) -> None:
    given_up_at = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < given_up_at, "nothing happened"
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_images_in_memory_in_whatever_order(
    stored: Any, workers: int, witness: Witness
):
    store, images = stored
    with closing(witness.gatherer(store, workers)) as gatherer:
        for i in (0, 1, 2, 2, 6, 3, 4, 7, 0, 5):
            assert np.array_equal(gatherer.batch(i), images[BATCHES[i]]), i
        gatherer.plan([np.array([39, 0, 7])])
        assert np.array_equal(gatherer.batch(0), images[[39, 0, 7]])
    assert witness.told == []


def test_no_more_batches_are_begun_than_there_are_slots(tmp_path: Path, witness: Witness):
    store, _ = store_of(tmp_path / "photos")
    with closing(witness.gatherer(store, 1)) as gatherer:
        assert isinstance(gatherer, GatherAhead)
        gatherer.batch(0)
        assert sorted(gatherer._jobs) == [0, 1, 2], "two ahead of that which is used"
        gatherer.batch(1)
        assert sorted(gatherer._jobs) == [1, 2, 3]


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_copy_is_mended_from_the_files(
    tmp_path: Path, workers: int, how: str, witness: Witness
):
    store, images = store_of(tmp_path / "photos")
    path = array_of(store.known)
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[13 * SIDE * SIDE * 3 + 5] ^= 1
        path.write_bytes(content)
    elif how == "cut":
        os.truncate(path, len(content) // 2)
    else:
        path.unlink()
    for _ in range(2):
        with closing(witness.gatherer(store, workers)) as gatherer:
            for i, rows in enumerate(BATCHES):
                assert np.array_equal(gatherer.batch(i), images[rows])
    if how != "gone":
        assert witness.told[0][0] == "damaged copy"
        assert path.read_bytes() == images.tobytes(), "put back"
    if how == "flip":
        assert len(witness.told) == 1, "the second time there is nothing to mend"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("harm", [cut_short, rot, Path.unlink])
def test_for_an_image_that_can_no_longer_be_read_another_is_asked_for(
    tmp_path: Path, harm: Any, workers: int, witness: Witness
):
    store, images = store_of(tmp_path / "photos", array=False)
    for row in (12, 13):
        harm(store.folder / store.names[row])
    with closing(witness.gatherer(store, workers)) as gatherer:
        assert np.array_equal(gatherer.batch(2), images[[10, 11, 14, 14, 14]])
        assert [row for row, _ in witness.asked] == [12, 13]
        gatherer.plan(BATCHES)
        assert np.array_equal(gatherer.batch(2), images[[10, 11, 14, 14, 14]])
        assert len(witness.asked) == 2, "it is remembered"


def test_an_image_that_has_changed_is_not_taken_for_the_one_that_it_was(
    tmp_path: Path, witness: Witness
):
    store, images = store_of(tmp_path / "photos", array=False)
    paths = [store.folder / store.names[row] for row in (3, 30)]
    paths[0].write_bytes(paths[1].read_bytes())
    with closing(witness.gatherer(store, 0)) as gatherer:
        assert np.array_equal(gatherer.batch(0)[3], images[4])
    assert witness.asked == [(3, "has changed since it was first read")]


def test_too_many_such_images_end_the_wait(tmp_path: Path, witness: Witness):
    store, _ = store_of(tmp_path / "photos", array=False)
    (store.folder / store.names[0]).unlink()

    def refuse(row: int, why: str) -> int:
        raise InputError(f"too many: {why}")

    with closing(GatherHere(store, witness.tell, refuse, nullcontext)) as gatherer:
        gatherer.plan(BATCHES)
        with pytest.raises(DataUnavailableError, match="too many: is gone"):
            gatherer.batch(0)


def test_a_worker_that_is_killed_is_replaced_and_told_of(tmp_path: Path, witness: Witness):
    store, images = store_of(tmp_path / "photos")
    with closing(witness.gatherer(store, 1)) as gatherer:
        gatherer.batch(0)
        (pid,) = gatherer.pids()
        os.kill(pid, signal.SIGKILL)
        for i, rows in enumerate(BATCHES):
            assert np.array_equal(gatherer.batch(i), images[rows])
    ((kind, message),) = witness.told
    assert kind == "input worker"
    assert f"(pid {pid}) ended (by signal 9, SIGKILL); another one took its place" in message


def test_a_worker_that_cannot_live_ends_the_wait_with_its_last_words(
    tmp_path: Path, witness: Witness, monkeypatch: pytest.MonkeyPatch
):
    store, _ = store_of(tmp_path / "photos")
    monkeypatch.setattr("traintime.data.gather_process.WORKER", "no.such.module")
    with (
        closing(witness.gatherer(store, 2)) as gatherer,
        pytest.raises(DataUnavailableError, match=r"3 processes .* No module named 'no'.*cats/000"),
    ):
        gatherer.batch(0)
    assert len(witness.told) < 2 * MOST_ENDS


def test_signals_of_the_run_do_not_end_its_workers(tmp_path: Path, witness: Witness):
    store, images = store_of(tmp_path / "photos")
    with closing(witness.gatherer(store, 1)) as gatherer:
        gatherer.batch(0)
        (pid,) = gatherer.pids()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
        assert np.array_equal(gatherer.batch(7), images[BATCHES[7]])
    assert witness.told == []


def test_closing_leaves_no_process_even_of_those_that_hang(tmp_path: Path, witness: Witness):
    store, _ = store_of(tmp_path / "photos")
    with closing(witness.gatherer(store, 2)) as gatherer:
        gatherer.batch(0)
        found = gatherer.pids()
        os.kill(found[0], signal.SIGSTOP)
    assert len(found) == 2
    assert not any(map(psutil.pid_exists, found))


KILLED = """
import sys, pickle, time
from contextlib import nullcontext
from pathlib import Path
from traintime.data.gather_ahead import GatherAhead

store = pickle.loads(Path(sys.argv[1]).read_bytes())
gatherer = GatherAhead(store, 5, 2, print, print, nullcontext)
gatherer.plan([[0, 1], [2, 3]])
gatherer.batch(0)
print(*[worker.pid for worker in gatherer._workers], flush=True)
time.sleep(60)
"""


def test_workers_of_a_killed_run_end_by_themselves(tmp_path: Path):
    import pickle

    store, _ = store_of(tmp_path / "photos")
    (tmp_path / "store").write_bytes(pickle.dumps(store))
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout
    with run.stdout:
        found = [int(pid) for pid in run.stdout.readline().split()]
        assert len(found) == 2
        assert all(map(psutil.pid_exists, found))
        run.kill()
        run.wait()
    wait_until(lambda: not any(map(psutil.pid_exists, found)))
