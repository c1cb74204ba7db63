"""Keeps our own output one document while a user's code runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator

STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def stdout_to_stderr() -> Generator[None]:
    """Send what is printed to where errors go, by Python, by a C library or by another process."""
    with contextlib.ExitStack() as stack:
        # Who has replaced stdout by an object of their own, as a notebook, keeps the descriptor.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            kept = os.dup(STDOUT)
            stack.callback(os.close, kept)
            os.dup2(STDERR, STDOUT)
            stack.callback(os.dup2, kept, STDOUT)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield
