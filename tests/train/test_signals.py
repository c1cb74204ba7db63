import os
import signal
import subprocess
import sys
import threading

import pytest

from traintime.train.signals import StopNow, StopRequest, stop_requests


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


def test_every_signal_that_is_asked_for_is_noted_and_given_back() -> None:
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        with stop_requests([number]) as stop:
            os.kill(os.getpid(), number)
            assert stop.signal_number == number
        assert signal.getsignal(number) == signal.SIG_DFL


def test_the_first_signal_decides_and_one_of_another_kind_changes_nothing() -> None:
    with stop_requests([signal.SIGUSR1, signal.SIGTERM]) as stop:
        os.kill(os.getpid(), signal.SIGUSR1)  # a scheduler's warning,
        os.kill(os.getpid(), signal.SIGTERM)  # and what follows it
        assert stop.signal_number == signal.SIGUSR1


def test_where_work_can_be_left_at_once_a_signal_leaves_it() -> None:
    done: list[str] = []

    def work(stop: StopRequest) -> None:
        with stop.immediate():
            done.append("before")
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("after")

    with stop_requests() as stop, pytest.raises(StopNow):
        work(stop)
    assert done == ["before"]
    assert stop.signal_number == signal.SIGTERM


def test_what_can_be_left_at_once_is_not_begun_after_a_signal() -> None:
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopNow), stop.immediate():
            pytest.fail("it was begun")


def test_work_that_cannot_be_left_is_not_left_although_it_follows_some_that_can() -> None:
    with stop_requests() as stop:
        with stop.immediate(), stop.immediate():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_no_handling_of_errors_swallows_the_leaving() -> None:
    assert not issubclass(StopNow, Exception)


@pytest.mark.parametrize(
    ("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143), ("SIGUSR1", 143)]
)
def test_second_signal_does_not_wait(number: str, code: int) -> None:
    script = (
        "import os, signal\n"
        "from traintime.train.signals import stop_requests\n"
        f"with stop_requests([signal.{number}]):\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        "    print('still here')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_ctrl_c_after_another_signal_does_not_wait() -> None:
    script = (
        "import os, signal\n"
        "from traintime.train.signals import stop_requests\n"
        "with stop_requests():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


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


def test_another_thread_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    with stop_requests([signal.SIGTERM, signal.SIGUSR1]) as stop:
        thread = threading.Thread(target=stop.ask)
        thread.start()
        thread.join()
        assert stop.signal_number == signal.SIGUSR1


def test_where_no_signal_is_caught_asking_notes_it_all_the_same() -> None:
    stop = StopRequest()  # as outside the main thread
    stop.ask()
    assert stop.signal_number == signal.SIGTERM


@pytest.mark.parametrize("asks_first", [True, False])
def test_a_clouds_notice_and_a_schedulers_warning_are_no_second_signal(asks_first: bool) -> None:
    with stop_requests([signal.SIGTERM, signal.SIGUSR1]) as stop:
        if asks_first:
            stop.ask()
        os.kill(os.getpid(), signal.SIGUSR1)
        if not asks_first:
            stop.ask()
        os.kill(os.getpid(), signal.SIGTERM)  # when the machine is taken
        assert stop.signal_number == signal.SIGUSR1


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="the system has no such limit")
def test_the_limit_on_processor_time_that_is_said_each_second_waits_for_what_is_saved() -> None:
    with stop_requests([signal.SIGXCPU]) as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGXCPU)
        assert stop.signal_number == signal.SIGXCPU
