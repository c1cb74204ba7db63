import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import traintime
from tests.api.known_machine import QUICK
from traintime.ledger.run_folder import RunFolder

COMMAND = [sys.executable, "-m", "traintime", "runs", "watch"]
ENTERS, LEAVES = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run, in a home of its own."""
    from tests.api.known_machine import remember_machine

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINTIME_HOME", str(tmp_path_factory.mktemp("home")))
        remember_machine()
        yield traintime.train(**QUICK).folder


@pytest.fixture
def running(trained: Path, home: Path) -> Iterator[RunFolder]:
    """A run that this process is at work on, to all appearances."""
    path = home / "runs" / trained.name
    shutil.copytree(trained, path)
    (path / "result.json").unlink()
    folder = RunFolder(path)
    folder.claim()
    yield folder
    path.mkdir(exist_ok=True)
    folder.release()


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        environment.pop("CI", None)
        self.process = subprocess.Popen(
            [*COMMAND, *words], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        self.text = ""

    def read_until(self, words: str, seconds: float = 20.0) -> str:
        until = time.monotonic() + seconds
        while words not in self.text and time.monotonic() < until:
            self._read()
        assert words in self.text, self.text[-2000:]
        return self.text

    def end(self, seconds: float = 10.0) -> int:
        """Return the exit code; what a terminal does not read, a command waits to write."""
        until = time.monotonic() + seconds
        while self._read() or (self.process.poll() is None and time.monotonic() < until):
            pass
        return self.process.wait(timeout=0.1)

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.1)[0]:
            return False
        self.text += os.read(self.master, 65536).decode(errors="replace")
        return True

    def is_restored(self) -> bool:
        left = self.text.rfind(LEAVES) > self.text.rfind(ENTERS) >= 0
        return left and termios.tcgetattr(self.slave) == self.before


def test_pipe_gets_one_plain_snapshot(trained: Path) -> None:
    done = subprocess.run([*COMMAND, str(trained)], capture_output=True, text=True, check=True)
    assert "mlp on digits, 2 epochs" in done.stdout
    assert "finished after" in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout


def test_json_is_one_document(running: RunFolder) -> None:
    words = [*COMMAND, running.name, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    state = json.loads(done.stdout)
    assert state["run"] == running.name
    assert state["pid"] == os.getpid()
    assert not state["is_over"]


def test_unknown_run_is_a_message_and_exit_code_2(home: Path) -> None:
    done = subprocess.run([*COMMAND, "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "There is no run named 'nothing'" in done.stderr


def test_q_leaves_the_screen_and_the_run_goes_on(running: RunFolder) -> None:
    terminal = Terminal(str(running.path))
    assert "mlp on digits" in terminal.read_until("traintime runs set")
    os.write(terminal.master, b"q")
    assert terminal.end() == 0
    assert terminal.is_restored()
    assert f"The run goes on. See it again with: traintime runs watch {running.name}" in " ".join(
        terminal.text.split()
    )


@pytest.mark.parametrize("pause_s", [0.0, 2.5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_the_terminal_as_it_was(
    running: RunFolder, number: int, pause_s: float
) -> None:
    terminal = Terminal(str(running.path))
    terminal.read_until("traintime runs set")
    time.sleep(pause_s)  # a terminal that is held takes no more than a screen or two
    terminal.process.send_signal(number)
    assert terminal.end() == 0
    assert terminal.is_restored()
    assert "Traceback" not in terminal.text


def test_screen_is_left_when_the_run_ends(running: RunFolder, trained: Path) -> None:
    terminal = Terminal(str(running.path))
    terminal.read_until("traintime runs set")
    shutil.copy(trained / "result.json", running.path / "result.json")
    assert terminal.end() == 0
    assert terminal.is_restored()
    assert "on the test set" in terminal.text.rpartition(LEAVES)[2]


def test_folder_that_is_deleted_is_a_message_and_no_traceback(running: RunFolder) -> None:
    terminal = Terminal(str(running.path))
    terminal.read_until("traintime runs set")
    shutil.rmtree(running.path)
    assert terminal.end() == 2
    assert terminal.is_restored()
    assert "is gone" in terminal.text
    assert "Traceback" not in terminal.text
