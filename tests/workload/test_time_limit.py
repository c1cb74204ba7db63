import signal
import threading
import time

import pytest

from traintime.workload.time_limit import time_limit


def test_what_takes_too_long_is_interrupted():
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"), time_limit(0.05):
        time.sleep(5)
    assert time.monotonic() - began < 2


def test_code_that_catches_everything_is_interrupted_too():
    def stubborn() -> None:
        while True:
            try:
                time.sleep(5)
            except Exception:
                pytest.fail("the limit was swallowed")

    with pytest.raises(TimeoutError), time_limit(0.05):
        stubborn()


def test_what_ends_in_time_leaves_no_alarm():
    handler = signal.getsignal(signal.SIGALRM)
    with time_limit(5):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_an_alarm_that_was_set_before_goes_on():
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with time_limit(5):
            pass
        time.sleep(0.2)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == [1]


def test_an_error_inside_is_passed_on():
    with pytest.raises(KeyError), time_limit(5):
        raise KeyError("mine")


def test_another_thread_has_no_limit():
    done: list[bool] = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
