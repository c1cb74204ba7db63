"""Keeps our own output one document while a user's code runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator

STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def stdout_to_stderr() -> Generator[None]:
    """Send what is printed to where errors go, by Python or by a process that is started."""
    with contextlib.ExitStack() as stack:
        # Some processes have no stdout at all.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stdout.flush()
            kept = os.dup(STDOUT)
            stack.callback(os.close, kept)
            os.dup2(STDERR, STDOUT)
            stack.callback(os.dup2, kept, STDOUT)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield
