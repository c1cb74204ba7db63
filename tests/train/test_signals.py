import os
import signal
import subprocess
import sys
import threading

import pytest

from traintime.train.signals import StopRequest, stop_requests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_inside_the_block_is_noted(number: signal.Signals) -> None:
    with stop_requests() as stop:
        assert stop.signal_number == 0
        os.kill(os.getpid(), number)
        assert stop.signal_number == number


def test_handlers_from_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stop_requests():
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_second_signal_does_not_wait(number: str, code: int) -> None:
    script = (
        "import os, signal\n"
        "from traintime.train.signals import stop_requests\n"
        "with stop_requests():\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        "    print('still here')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_outside_the_main_thread_nothing_is_caught() -> None:
    requests: list[StopRequest] = []
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with stop_requests() as stop:
            requests.append(stop)
            assert signal.getsignal(signal.SIGTERM) is before

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requests[0].signal_number == 0
