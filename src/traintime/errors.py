"""Every error that traintime raises on purpose.

TraintimeError                      exit code 1
├── InputError                      2   the user can mend it by typing something else
│   ├── UnknownNameError            2   a name that is not in a list; carries the nearest ones
│   ├── MissingExtraError           2   an optional dependency is not installed
│   └── RunFolderError              2   a run folder that cannot be used as asked
├── DataUnavailableError            1   no source of a data set could be reached
├── DivergedError                   1   the loss is no longer a finite number
├── StorageError                    1   the disk refused a write
└── StoppedError                    130 or 143   stopped by a signal, after saving

A message says what was given, what was expected, and what to type next.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class TraintimeError(Exception):
    """Base of all errors raised on purpose; the command line prints it without a traceback."""

    exit_code = 1


class InputError(TraintimeError):
    """What was asked for cannot be done as it was written."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that is not in the list of known ones.

    Args:
        what: What the name should have named, for example "data set".
        given: The name as it was typed.
        known: All names that would have been accepted.
        next_step: The command that shows the choices.
    """

    def __init__(self, what: str, given: str, known: Iterable[str], next_step: str) -> None:
        names = sorted(known)
        near = nearest(given, names)
        hint = f"Did you mean '{near}'? " if near else ""
        listed = f"Known: {', '.join(names)}" if len(names) <= 12 else f"{len(names)} are known"
        listed = listed if names else "None is known"
        super().__init__(f"No {what} named '{given}'. {hint}{listed}. {next_step}")
        self.given = given
        self.nearest = near


class MissingExtraError(InputError):
    """An optional dependency is needed and is not installed.

    Args:
        purpose: What needs it, for example "training".
        extra: The extra of this package that brings it.
        module: The module that could not be imported.
    """

    def __init__(self, purpose: str, extra: str, module: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{module}', which is not installed. "
            f"Install it with: pip install 'traintime[{extra}]'"
        )


class RunFolderError(InputError):
    """A run folder cannot be used for what was asked."""


class DataUnavailableError(TraintimeError):
    """No source of a data set could be reached, or none gave the right content."""


class DivergedError(TraintimeError):
    """The loss is no longer finite.

    Args:
        step: The optimizer step, counted from 1, at which it was first seen.
        message: What happened, what was kept and what to type next.
    """

    def __init__(self, step: int, message: str) -> None:
        super().__init__(message)
        self.step = step


class StorageError(TraintimeError):
    """The disk refused a write (full, read-only, gone)."""


class StoppedError(TraintimeError):
    """The run was stopped by a signal and has been saved.

    Args:
        signal_number: The signal; see `exit_code_of`.
        message: Where it stopped and how to go on.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code_of(signal_number)


def exit_code_of(signal_number: int) -> int:
    """Return 130 for Ctrl-C, as shells expect, and 143, as for SIGTERM, for all else that stops.

    So whoever started the run, such as a scheduler's script, needs to know one code alone.
    """
    return 130 if signal_number == signal.SIGINT else 143


LIKENESS = 0.6
"""Of a name to one that was typed, from which it may have been meant; `difflib`'s own default."""


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like `given`, or None if none is close."""
    by_folded = {name.casefold(): name for name in known}
    match = difflib.get_close_matches(given.casefold(), by_folded, n=1, cutoff=LIKENESS)
    return by_folded[match[0]] if match else None
