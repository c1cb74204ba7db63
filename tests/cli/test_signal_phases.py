"""A signal that comes while the run is at this or that: saved in time, told, resumable."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

import traintime
from tests.api.known_machine import as_words, records, remember_machine
from tests.cli.processes import (
    JOB,
    ONE_THREAD,
    PATIENCE_S,
    Patch,
    Started,
    assert_same_end,
    newest_step,
    only_run,
    run,
)
from traintime.api import session, train
from traintime.data import fetch
from traintime.ledger.run_folder import RunFolder
from traintime.train.stepper import Stepper

SIGNALLED = {**JOB, "patience": 3}
LONG_JOB = {**JOB, "epochs": 5000, "patience": 5000}
STEPS_PER_EPOCH, STEPS = 10, 40
GRACE_S = 5
LONG_S = 60


# What a process is at when it is signalled. Each makes the sign, and then takes its time.


def linger(sign: Path, *_: object, seconds: float = LONG_S, **__: object) -> None:
    sign.touch()
    time.sleep(seconds)


def hang_in_download(sign: Path) -> None:
    fetch.load_raw = lambda name, say: linger(sign)


def hang_in_first_step(sign: Path) -> None:
    Stepper.take = lambda self, progress, position, lr: linger(sign)


def slow_steps(sign: Path, sign_at: int = -1) -> None:
    take = Stepper.take

    def slow(self: Stepper, progress: Any, position: int, lr: float) -> Any:
        time.sleep(0.02)
        if progress.step == sign_at:
            sign.touch()
        return take(self, progress, position, lr)

    Stepper.take = slow


MIDWAY = STEPS_PER_EPOCH + 3
train_slowly = partial(slow_steps, sign_at=MIDWAY)


def _hang_in_prediction(sign: Path, number: int) -> None:
    """Hang after the first samples of the so manieth set that is predicted."""
    predict, calls = session.predict, iter(range(number))

    def hang_within(batches: Any) -> Iterator[Any]:
        yield next(iter(batches))
        linger(sign)

    def slow(module: Any, batches: Any, execution: Any) -> Any:
        last = next(calls) == number - 1
        return predict(module, hang_within(batches) if last else batches, execution)

    session.predict = slow


def show_first_step(sign: Path) -> None:
    take = Stepper.take

    def shown(*given: Any) -> Any:
        sign.touch()
        return take(*given)

    Stepper.take = shown


hang_in_validation = partial(_hang_in_prediction, number=2)
hang_in_test = partial(_hang_in_prediction, number=5)


def save_slowly(sign: Path, seconds: float = 0.5) -> None:
    """A disk that takes its time; the sign is made in the midst of the first checkpoint."""
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        if threading.current_thread().name == "traintime-checkpoint":
            linger(sign, seconds=seconds)
        fsync(descriptor)

    os.fsync = slow


def write_result_slowly(sign: Path) -> None:
    write = session.Session._write_result

    def slow(*given: Any) -> None:
        linger(sign, seconds=1)
        write(*given)

    session.Session._write_result = slow


def finish_slowly(sign: Path) -> None:
    """Take a moment between the result and the ledger's word about it."""
    put = train.Ledger.put

    def slow(self: Any, row: Any) -> None:
        if row.status == "finished":
            linger(sign, seconds=1)
        put(self, row)

    train.Ledger.put = slow


@dataclass(frozen=True)
class Phase:
    """Something that a process is at.

    Args:
        patches: Done in the process.
        least: Steps that are done by then, and must not be lost.
        checkpoint_every_s: Of the recipe.
        prepare: Done from outside, once the sign is there.
    """

    patches: tuple[Patch, ...]
    least: int
    checkpoint_every_s: float = 1000
    prepare: Callable[[Path], object] | None = None


def pause(home: Path) -> None:
    run(home, "runs", "pause", "latest")
    assert records(only_run(home).path, "changes")[-1]["verb"] == "pause"


PHASES = {
    "download": Phase((hang_in_download,), 0),
    "first step": Phase((hang_in_first_step,), 0),
    "training": Phase((train_slowly,), MIDWAY),
    "validation": Phase((hang_in_validation,), 2 * STEPS_PER_EPOCH),
    "save": Phase((save_slowly, slow_steps), 1, checkpoint_every_s=0),
    "pause": Phase((train_slowly,), MIDWAY, prepare=pause),
    "test": Phase((hang_in_test,), STEPS),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that nothing interrupts."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(home))
        remember_machine()
    run(home, "train", *as_words(**SIGNALLED))
    return only_run(home)


def assert_stopped_in_time(process: Started, number: Signals, folder: RunFolder) -> None:
    """It ends within the grace period, says so, and is known as stopped."""
    signalled_at = time.monotonic()
    process.send(number)
    code = process.ended()
    assert time.monotonic() - signalled_at < GRACE_S
    assert code == (130 if number == signal.SIGINT else 143), process.errors
    assert f"type: traintime runs resume {folder.name}" in process.errors.replace("\n", " ")
    assert "Traceback" not in process.errors
    assert traintime.list_runs()[0].status == "stopped"
    assert not folder.is_running


def stop_at(phase: Phase, number: Signals, home: Path) -> RunFolder:
    """Stop a run that is at something; return it."""
    words = as_words(**{**SIGNALLED, "checkpoint_every_s": phase.checkpoint_every_s})
    process = Started(home, ["train", *words], phase.patches)
    process.wait_for_sign()
    if phase.prepare:
        phase.prepare(home)
    folder = only_run(home)
    assert_stopped_in_time(process, number, folder)
    return folder


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
QUICK_ONES = set(zip(PHASES, cycle(SIGNALS), strict=False))
ALL = [
    pytest.param(
        name,
        number,
        marks=() if (name, number) in QUICK_ONES else pytest.mark.slow,
        id=f"{name}-{number.name}",
    )
    for name in PHASES
    for number in SIGNALS
]


@pytest.mark.parametrize(("name", "number"), ALL)
def test_signal_at_any_phase_saves_in_time_and_loses_nothing(
    name: str, number: Signals, home: Path, whole: RunFolder
) -> None:
    phase = PHASES[name]
    folder = stop_at(phase, number, home)
    assert newest_step(folder) >= phase.least
    seen = records(folder.path, "steps") if phase.least else []
    assert newest_step(folder) == (seen[-1]["step"] if seen else 0)
    run(home, "runs", "resume", "latest")
    assert_same_end(folder, whole)


def test_second_signal_of_its_kind_does_not_wait_for_the_disk(home: Path, whole: RunFolder) -> None:
    words = as_words(**{**SIGNALLED, "checkpoint_every_s": 0})
    hanging = (partial(save_slowly, seconds=LONG_S), slow_steps)
    process = Started(home, ["train", *words], hanging)
    process.wait_for_sign()
    process.send(signal.SIGTERM)
    time.sleep(0.3)
    assert process.is_alive, "it waits for the disk"
    signalled_at = time.monotonic()
    process.send(signal.SIGTERM)
    assert process.ended() == 143
    assert time.monotonic() - signalled_at < 1
    run(home, "runs", "resume", "latest")
    assert_same_end(only_run(home), whole)


def test_warning_that_sigterm_follows_loses_nothing_of_what_is_saved(
    home: Path, whole: RunFolder
) -> None:
    words = as_words(**{**SIGNALLED, "checkpoint_every_s": 0})
    saving = (partial(save_slowly, seconds=1.0), slow_steps)
    process = Started(home, ["train", *words], saving)
    process.wait_for_sign()
    process.send(signal.SIGUSR1)
    time.sleep(0.2)
    process.send(signal.SIGTERM)
    assert process.ended() == 143
    folder = only_run(home)
    assert f"type: traintime runs resume {folder.name}" in process.errors.replace("\n", " ")
    assert newest_step(folder) == records(folder.path, "steps")[-1]["step"]
    run(home, "runs", "resume", "latest")
    assert_same_end(folder, whole)


@pytest.mark.parametrize("at", [write_result_slowly, finish_slowly])
def test_signal_while_the_result_is_written_lets_it_be_written(
    at: Patch, home: Path, whole: RunFolder
) -> None:
    process = Started(home, ["train", *as_words(**SIGNALLED)], [at])
    process.wait_for_sign()
    process.send(signal.SIGTERM)
    assert process.ended() == 0
    assert traintime.list_runs()[0].status == "finished"
    assert_same_end(only_run(home), whole)


# From the first import to the last breath of the interpreter

SHOWING_THE_FIRST_STEP = """
import sys
from pathlib import Path
from tests.cli.test_signal_phases import show_first_step
from traintime.cli.main import main

show_first_step(Path(sys.argv.pop(1)))
main()
"""


def started_anew(home: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **ONE_THREAD, "TORCHINDUCTOR_CACHE_DIR": str(home / "compiled")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    given_up_at = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < given_up_at
        time.sleep(0.002)


def assert_ends_in_time(process: subprocess.Popen[str], number: Signals) -> None:
    process.send_signal(number)
    signalled_at = time.monotonic()
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - signalled_at < GRACE_S
    assert process.returncode == (130 if number == signal.SIGINT else 143), errors
    assert "Traceback" not in errors
    assert "type: traintime runs resume" in errors.replace("\n", " ")
    assert traintime.list_runs()[0].status == "stopped"


@pytest.mark.slow
def test_signal_while_torch_is_imported_leaves_nothing_behind(home: Path, whole: RunFolder) -> None:
    process = started_anew(home, "-m", "traintime", "train", *as_words(**SIGNALLED))
    wait_until(lambda: list(home.glob("runs/*/process.json")), process)
    time.sleep(0.1)
    assert_ends_in_time(process, signal.SIGTERM)
    run(home, "runs", "resume", "latest")
    assert_same_end(only_run(home), whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("seed", range(5))
def test_signal_at_any_instant_of_the_beginning_is_heard(
    seed: int, number: Signals, home: Path
) -> None:
    words = as_words(**LONG_JOB)
    process = started_anew(home, "-m", "traintime", "train", *words)
    wait_until(lambda: list(home.glob("runs/*/process.json")), process)
    time.sleep(0.05 + random.Random(f"{seed}{number}").uniform(0, 3))
    assert_ends_in_time(process, number)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.5, 2.0, 4.0])
def test_signal_while_the_first_step_is_compiled_is_not_waited_for(
    after_s: float, home: Path
) -> None:
    words = as_words(**SIGNALLED, compile="true")
    sign = home / "sign"
    process = started_anew(home, "-c", SHOWING_THE_FIRST_STEP, str(sign), "train", *words)
    wait_until(sign.exists, process)
    time.sleep(after_s)
    assert_ends_in_time(process, signal.SIGTERM)
