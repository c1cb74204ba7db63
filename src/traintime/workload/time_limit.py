"""Limits on how long somebody else's code may take."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from time import monotonic
from types import FrameType

BETWEEN_STOPS_S = 0.5
"""Code that has not come by a safe point for so long is in none of torch's calls."""


class TookTooLongError(TimeoutError):
    """Somebody else's code was stopped; one that gives up by itself raises no more than its base.

    Args:
        seconds: That it was given.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took longer than {seconds:g} s")


class _RanOutError(BaseException):
    """Passes through `except Exception` of the code that takes too long."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Interrupt what runs inside after so many seconds.

    Only Python's main thread can be interrupted, and not on Windows; elsewhere there is no limit.
    An alarm that was set before goes on.

    Raises:
        TookTooLongError: It did.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _RanOutError

    try:
        with _alarm(ring, seconds):
            yield
    except _RanOutError:
        raise TookTooLongError(seconds) from None


class _Watch:
    """Stops code at the points where it may be stopped, or wherever it is if it comes by none.

    Args:
        seconds: That it may take.
    """

    def __init__(self, seconds: float) -> None:
        self.end = monotonic() + seconds
        self.reason: BaseException | None = None
        self.num_passed = 0
        self._passed_before = -1

    def safe_point(self) -> None:
        """Be stopped here, if that is due; without signals, too."""
        self.num_passed += 1
        if self.reason is None and monotonic() > self.end:
            self.reason = _RanOutError()
        if self.reason:
            raise self.reason

    def on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Stop at the next safe point; at once, if none was passed since the last alarm."""
        self.reason = self.reason or _RanOutError()
        if self.num_passed == self._passed_before:
            raise self.reason
        self._passed_before = self.num_passed

    def on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Do the same for Ctrl-C; at once, if it is pressed again."""
        if isinstance(self.reason, KeyboardInterrupt):
            raise self.reason
        self.reason = KeyboardInterrupt()
        self._passed_before = self.num_passed
        signal.setitimer(signal.ITIMER_REAL, BETWEEN_STOPS_S, BETWEEN_STOPS_S)


@contextlib.contextmanager
def limit_at_safe_points(seconds: float) -> Generator[Callable[[], None]]:
    """Limit code that runs inside C++ which an exception in the wrong place would abort.

    Ctrl-C waits for a safe point, too, unless somebody else handles it. Where no signals can be
    had (see `time_limit`), safe points alone stop it.

    Yields:
        What is to be called at each safe point.

    Raises:
        TookTooLongError: It did.
    """
    watch = _Watch(seconds)
    with contextlib.ExitStack() as stack:
        if hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread():
            stack.enter_context(_alarm(watch.on_alarm, seconds, BETWEEN_STOPS_S))
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                stack.enter_context(_handler(signal.SIGINT, watch.on_interrupt))
        try:
            yield watch.safe_point
        except _RanOutError:
            raise TookTooLongError(seconds) from None
    if isinstance(watch.reason, KeyboardInterrupt):  # it came when all was done
        raise watch.reason


_Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def _alarm(ring: _Handler, seconds: float, again_s: float = 0.0) -> Generator[None]:
    """Ring after so many seconds, and again; an alarm that was set before goes on after it."""
    began_at, left, interval = monotonic(), 0.0, 0.0
    try:
        with _handler(signal.SIGALRM, ring):
            left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, again_s)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        if left:
            rest = max(left - (monotonic() - began_at), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)


@contextlib.contextmanager
def _handler(number: int, handle: _Handler) -> Generator[None]:
    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)
