"""Signals ask a run to save and stop; one that comes twice, or Ctrl-C after any, does not wait.

Schedulers and clouds send several: a warning, and SIGTERM later. That the second is another one
than the first says nothing of haste, and what is being saved is saved.

What the first one does depends on what the process is at. Where there is nothing new to save, while
data is fetched, the first step compiles or a validation goes over its samples, the work is left at
once. Between steps it is left at the next point where the state is whole.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import FrameType

from traintime.errors import exit_code_of

REPEATED = {getattr(signal, "SIGXCPU", 0)}
"""Signals that the system sends anew each second, from the soft limit on processor time on.

References:
    getrlimit(2), RLIMIT_CPU.
"""


class StopNow(BaseException):
    """A signal came where work can be left at once; no error, so that nobody handles it as one."""


class StopRequest:
    """Whether someone asked the run to stop.

    Attributes:
        signal_number: The signal that asked, or 0.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._received: set[int] = set()
        self._asked_by = 0
        self._is_immediate = False

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Note the first signal, or leave the work for it; leave the process with it again.

        Ctrl-C after any other leaves it, too: somebody is there who does not want to wait.
        """
        is_our_own = number == self._asked_by  # a scheduler's may come yet
        is_again = number in self._received - REPEATED and not is_our_own
        is_in_haste = number == signal.SIGINT and bool(self._received or self.signal_number)
        if is_our_own:
            self._asked_by = 0
        else:
            self._received.add(number)
        if is_again or is_in_haste:
            os._exit(exit_code_of(number))
        if self.signal_number:
            return
        self.signal_number = number
        if self._is_immediate:
            raise StopNow

    def ask(self) -> None:
        """Ask the run to stop, from any thread, as a scheduler's warning does."""
        warning = getattr(signal, "SIGUSR1", None)
        if warning and signal.getsignal(warning) == self.receive:
            self._asked_by = warning
            os.kill(os.getpid(), warning)  # its handler runs in the main thread
        elif not self.signal_number:
            self.signal_number = signal.SIGTERM

    @contextmanager
    def immediate(self) -> Generator[None]:
        """Let a signal end the block at once, by `StopNow`."""
        before, self._is_immediate = self._is_immediate, True
        try:
            if self.signal_number:
                raise StopNow
            yield
        finally:
            self._is_immediate = before


@contextmanager
def stop_requests(
    numbers: Iterable[int] = (signal.SIGINT, signal.SIGTERM),
) -> Generator[StopRequest]:
    """Catch signals inside the block; outside the main thread nothing is caught.

    Args:
        numbers: The signals.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
