import signal
import threading
import time
from collections.abc import Generator

import pytest

from traintime.workload import time_limit as time_limit_module
from traintime.workload.time_limit import limit_at_safe_points, time_limit


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


# Code that may be stopped at some points alone


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look twice as soon whether a safe point was passed."""
    monkeypatch.setattr(time_limit_module, "BETWEEN_STOPS_S", 0.05)


@pytest.fixture
def interrupts() -> Generator[None]:
    """Have Ctrl-C as Python has it, which a process in the background has not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def forever_in_unsafe_places(safe_point, unsafe_s: float = 0.0) -> None:
    while True:
        began = time.monotonic()
        try:
            while time.monotonic() - began < unsafe_s:
                pass
        except BaseException:
            pytest.fail("stopped where it is not safe")
        safe_point()


def test_it_is_stopped_at_a_safe_point():
    with (
        pytest.raises(TimeoutError, match=r"longer than 0\.05 s"),
        limit_at_safe_points(0.05) as at,
    ):
        forever_in_unsafe_places(at, 0.01)


@pytest.mark.usefixtures("soon")
def test_what_passes_no_safe_point_is_stopped_where_it_is():
    with pytest.raises(TimeoutError), limit_at_safe_points(0.05):
        time.sleep(60)


def test_safe_points_stop_another_thread_too():
    stopped: list[bool] = []

    def work() -> None:
        with pytest.raises(TimeoutError), limit_at_safe_points(0.05) as at:
            forever_in_unsafe_places(at, 0.01)
        stopped.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stopped == [True]


@pytest.mark.usefixtures("soon", "interrupts")
@pytest.mark.parametrize("passes", [True, False])
def test_an_interrupt_waits_for_a_safe_point_if_there_is_one(passes):
    def work(at) -> None:
        signal.raise_signal(signal.SIGINT)
        forever_in_unsafe_places(at, 0.01) if passes else time.sleep(60)

    with pytest.raises(KeyboardInterrupt), limit_at_safe_points(60) as at:
        work(at)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_at_the_very_end_is_not_lost():
    with pytest.raises(KeyboardInterrupt), limit_at_safe_points(60):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_somebody_else_handles_is_left_to_them():
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with limit_at_safe_points(60):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]
