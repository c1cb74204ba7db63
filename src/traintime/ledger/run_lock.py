"""Who is at work on a run: one process at a time, on whichever machine.

process.lock    locked by the system for as long as its process lives
process.json    who that is, for people and for other machines to read; renewed as a sign of life

The system's lock decides between the processes of one machine: it is taken in one instant and ends
with its process, however that ends. Another machine that shares the file system may not see it, nor
can it look a process up here, so it looks for the sign of life: the time of process.json, against
the time that the file system gives a file at that moment. Clocks of machines are never compared.
"""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from traintime.errors import RunFolderError
from traintime.ledger.atomic import refused_writes_explained
from traintime.ledger.processes import birth_of, seconds_since_boot, try_lock, where_pids_count
from traintime.ledger.run_owner import Owner, Signature, read_signature, sign
from traintime.units import format_duration

BEAT_S = 10.0
STALE_S = 60.0
PATIENCE_S = 5.0
"""How long another process may take from its lock to its name in process.json."""


class RunLock:
    """The right to work on a run folder.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "process.json"
        self._descriptor: int | None = None
        self._released = threading.Event()
        self.owned: Owner | None = None
        self.taken_over_by: Owner | None = None

    def claim(self) -> str | None:
        """Take the right to work on the run.

        Returns:
            What to say if a process that is gone left the run as if it were at work; else None.

        Raises:
            RunFolderError: Another process is at work on it.
            StorageError: The disk refused.
        """
        if self.owned:
            return None
        descriptor = self._system_lock()
        try:
            with self._alone() if descriptor is None else nullcontext():
                before = read_signature(self._path)
                why = before and self._why_gone(before, has_lock=descriptor is not None)
                if before and not why:
                    raise self._refusal(before)
                self.owned = sign(self._path, is_locked=descriptor is not None)
        except BaseException:
            _close(descriptor)
            raise
        self._descriptor = descriptor
        self._released = threading.Event()
        _held.add(self)
        beat = threading.Thread(target=self._beat, args=(self.owned, self._released), daemon=True)
        beat.start()
        return f"{why}; it is taken over" if why else None

    def release(self) -> None:
        """Give the right back; without it nothing happens."""
        if self.owned is None:
            return
        self._released.set()
        signature = read_signature(self._path)
        if signature and signature.owner.is_same_as(self.owned):
            with suppress(OSError):  # then the next process finds that this one is gone
                self._path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Forget the right without a word in the folder, as a forked child has to."""
        _close(self._descriptor)
        self._descriptor = self.owned = None
        _held.discard(self)

    def living_owner(self) -> Owner | None:
        """Return the process at work on the run, if there is one."""
        signature = read_signature(self._path)
        is_living = signature and not self._why_gone(signature, has_lock=False)
        return signature.owner if signature and is_living else None

    def _system_lock(self) -> int | None:
        """Return the descriptor that holds the lock; None where the file system has no locks."""
        path = self._folder / "process.lock"
        with refused_writes_explained(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._wait_until(lambda: try_lock(descriptor), path)
        except NotImplementedError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep others from claiming meanwhile, where only the making of a file excludes them."""
        path = self._folder / ".process.claim"

        def is_made() -> bool:
            with refused_writes_explained(path), suppress(FileExistsError):
                path.touch(exist_ok=False)
                return True
            return False

        self._wait_until(is_made, path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _wait_until(self, is_taken: Callable[[], bool], path: Path) -> None:
        """Take what another process may hold that is about to sign, or to give the run back."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not is_taken():
            signature = read_signature(self._path)
            if signature and not self._why_gone(signature, has_lock=False):
                raise self._refusal(signature)
            if time.monotonic() > give_up_at:
                raise RunFolderError(
                    f"The run '{self._folder.name}' is held by a process that gives no sign of "
                    f"life. If none is at work on it, on any machine, type: rm '{path}'"
                )
            time.sleep(0.01)

    def _beat(self, owned: Owner, released: threading.Event) -> None:
        """Renew the sign of life; notice if a machine that did not see it took the run over."""
        while not released.wait(BEAT_S):
            signature = read_signature(self._path)
            if signature and not signature.owner.is_same_as(owned):
                self.taken_over_by = signature.owner
                return
            with suppress(OSError):
                os.utime(self._path)

    def _why_gone(self, signature: Signature, *, has_lock: bool) -> str | None:
        """Return why the owner is no longer at work, in words; None if it is.

        Args:
            signature: Its own.
            has_lock: Whether this process holds the system's lock.
        """
        owner = signature.owner
        if owner.is_near:
            return self._why_gone_here(signature)
        is_same_system = owner.where.partition("/")[0] == where_pids_count().partition("/")[0]
        if has_lock and owner.is_locked and is_same_system:  # it was in another container
            return _ended(owner)
        silence_s = self._silence_s(signature)
        # What a machine of this name signed before this one was started was signed by itself.
        is_rebooted = owner.host == platform.node() and silence_s > seconds_since_boot()
        if silence_s <= STALE_S and not is_rebooted:
            return None
        return f"P{str(owner)[1:]} has given no sign of life for {format_duration(silence_s)}"

    def _why_gone_here(self, signature: Signature) -> str | None:
        owner = signature.owner
        if birth_of(owner.pid) != owner.birth:
            return _ended(owner)
        is_elsewhere = owner.folder != str(self._folder.resolve())
        if is_elsewhere and owner.inode != signature.inode:
            return f"P{str(owner)[1:]} trains another copy of this run, in '{owner.folder}'"
        if owner.pid == os.getpid() and all(lock.owned != owner for lock in _held):
            return _ended(owner)
        return None

    def _silence_s(self, signature: Signature) -> float:
        """Return how long ago the last sign of life is, by the file system's own clock."""
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                file.write(b"now")
                file.flush()
                now = os.fstat(file.fileno()).st_mtime
        except OSError:  # a folder that may only be read; clocks have to agree then
            now = time.time()
        # A time to come was given before the clock was set back: nobody has renewed it since.
        return abs(now - signature.renewed_at)

    def _refusal(self, signature: Signature) -> RunFolderError:
        owner = signature.owner
        said = f"The run '{self._folder.name}' is being trained by {owner}"
        stop = f"Wait for it, or stop it first: traintime runs stop {self._folder.name}"
        if owner.is_near:
            return RunFolderError(f"{said}. {stop}")
        silence_s = self._silence_s(signature)
        return RunFolderError(
            f"{said} (last sign of life {format_duration(silence_s)} ago). {stop}. "
            "If that machine is gone, type the same again in "
            f"{format_duration(max(1.0, STALE_S - silence_s))}"
        )


def _ended(owner: Owner) -> str:
    return f"P{str(owner)[1:]} has ended without releasing the run"


_held: set[RunLock] = set()


def _let_go_in_child() -> None:
    # A child would hold its parent's lock beyond the parent's end.
    for lock in list(_held):
        lock.let_go()


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
