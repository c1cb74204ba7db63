"""Output whose reader may go: a run outlives its terminal, or the pipe that it writes to."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Any

from traintime.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_refused: list[OSError | ValueError] = []


def check_output() -> None:
    """Say that standard output took not all of a verb's answer, where somebody wanted it.

    Raises:
        StorageError: The disk that it goes to is full.
    """
    if _refused:
        error = _refused.pop()
        raise StorageError(
            f"The answer could not be written ({getattr(error, 'strerror', error)}). Free some "
            "space where the output goes to, and type the same again"
        )


class Audience:
    """What a console writes to: standard output or standard error, as long as somebody reads it.

    Signs that the reader's alphabet does not have come as question marks.

    Args:
        name: "stdout" or "stderr".
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write; into the void once nobody reads any more."""
        if self._stream is not None:  # it was closed before the start
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                plain = text.encode(error.encoding, "replace").decode(error.encoding)
                self.write(plain)
            except (OSError, ValueError) as error:
                self._let_go(error)
        return len(text)

    def flush(self) -> None:
        """Write through."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._let_go(error)

    @property
    def _stream(self) -> Any:
        stream = getattr(sys, self._name)
        return getattr(stream, "rich_proxied_file", stream)  # what is live stands in front of it

    def _let_go(self, error: OSError | ValueError) -> None:
        """Send what comes to nowhere; it would fail again when the interpreter ends."""
        if self._name == "stdout" and getattr(error, "errno", None) in FULL:
            _refused.append(error)
        with suppress(OSError, ValueError):  # a stream that is closed is nowhere already
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, self._stream.fileno())
            os.close(void)
