"""Ctrl-C and SIGTERM ask a run to save and stop; the second one does not wait."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether someone asked the run to stop.

    Attributes:
        signal_number: The signal that asked, or 0.
    """

    def __init__(self) -> None:
        self.signal_number = 0

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Note the first signal; leave at once with the second."""
        if self.signal_number:
            os._exit(128 + number)
        self.signal_number = number


@contextmanager
def stop_requests() -> Generator[StopRequest]:
    """Catch Ctrl-C and SIGTERM inside the block; outside the main thread nothing is caught."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    caught = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request.receive) for number in caught}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
