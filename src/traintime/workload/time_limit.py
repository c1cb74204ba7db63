"""A limit on how long somebody else's code may take."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from time import monotonic
from types import FrameType


class _RanOutError(BaseException):
    """Passes through `except Exception` of the code that takes too long."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Interrupt what runs inside after so many seconds.

    Only Python's main thread can be interrupted, and not on Windows; elsewhere there is no limit.
    An alarm that was set before goes on.

    Raises:
        TimeoutError: It took longer.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _RanOutError

    handler = signal.signal(signal.SIGALRM, ring)
    began_at = monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _RanOutError:
        raise TimeoutError(f"it took longer than {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(
                signal.ITIMER_REAL, max(left - (monotonic() - began_at), 1e-3), interval
            )
