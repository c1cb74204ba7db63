"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from traintime.errors import StorageError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place.

    After a crash at any instant `path` holds either its old or its new content. The file is synced
    before it takes the name, the folder after, so the order survives a power cut too.

    Args:
        path: The file to make or replace.
        write: Writes the content to the path that it is given.

    Raises:
        StorageError: The disk refused.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with refused_writes_explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # safetensors leaves files to their owner alone
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):  # what went wrong first is what matters
                temporary.unlink(missing_ok=True)


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content at once; see `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left half written in a folder that nothing else writes to.

    Files that name another living process are let be: it may still be at work on them.
    """
    for path in folder.glob(".*tmp*"):  # ours, and those that safetensors makes
        number = re.search(r"\.(\d+)\.tmp$", path.name)
        owner = int(number[1]) if number else os.getpid()
        if owner == os.getpid() or not psutil.pid_exists(owner):
            with suppress(OSError):
                path.unlink()


@contextmanager
def refused_writes_explained(path: Path) -> Generator[None]:
    """Turn the system's refusal to write into a StorageError that says what to do."""
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number is None:
            raise
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"The disk is full: '{path}' could not be written. What was there before is "
                f"unharmed. Free some space (see it with: df -h '{path.parent}') and try again"
            ) from error
        if number == errno.ENOENT:
            raise StorageError(
                f"'{path}' cannot be written: the folder '{path.parent}' is gone"
            ) from error
        raise StorageError(
            f"'{path}' cannot be written ({os.strerror(number)}). Check with: "
            f"ls -ld '{path.parent}'"
        ) from error


def _system_error(error: Exception) -> int | None:
    """Return the system's number of an error; safetensors (Rust) has it in its text alone."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open folders, and renames there are journaled
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
