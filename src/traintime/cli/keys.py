"""Single keys from a terminal, without the Enter key."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

Wait = Callable[[float], str]
"""Waits so many seconds for a key, and returns it, or nothing if none was pressed."""


@contextmanager
def pressed_keys() -> Generator[Wait]:
    """Read keys as they are pressed, and leave the terminal as it was.

    Where there is no terminal to read from, no key is ever pressed; Ctrl-C works everywhere.
    """
    try:
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):  # Windows, or stdin is closed
        yield _wait_only
        return
    except termios.error:  # pyright: ignore[reportPossiblyUnboundVariable]  # not a terminal
        yield _wait_only
        return
    try:
        tty.setcbreak(descriptor)
        yield _wait_for_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait_only(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _wait_for_key(seconds: float) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1).decode(errors="ignore") if ready else ""
