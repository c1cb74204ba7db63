"""How the process at work on a run signs in process.json, and how that is read."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from traintime.ledger.atomic import write_atomically
from traintime.ledger.processes import birth_of, where_pids_count


@dataclass(frozen=True)
class Owner:
    """The process at work on a run, as it signs in process.json.

    Args:
        pid: Its number.
        host: Name of its machine.
        since: When it began on the run, ISO with time zone.
        where: Where its number counts: see `where_pids_count`.
        birth: What it differs in from others of its number: see `birth_of`.
        is_locked: Whether it holds the system's lock.
        folder: That it works in.
        inode: Of process.json itself. A copy has another one, and lies in another folder.
    """

    pid: int
    host: str
    since: str
    where: str
    birth: str
    is_locked: bool
    folder: str
    inode: int

    def __str__(self) -> str:
        """Return who it is in words."""
        since = datetime.fromisoformat(self.since).astimezone()
        is_today = since.date() == datetime.now().astimezone().date()
        shown = since.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")
        return f"process {self.pid} on {self.host} since {shown}"

    def is_same_as(self, other: Owner) -> bool:
        """Say whether both are one process at work; some file systems change an inode's number."""
        return replace(self, inode=other.inode) == other

    @property
    def is_near(self) -> bool:
        """Whether its number can be looked up from here."""
        return self.where == where_pids_count()


@dataclass(frozen=True)
class Signature:
    """What process.json says and what the file system says of it.

    Args:
        owner: Who signed.
        inode: Of the file.
        renewed_at: Its time, by the file system's clock.
    """

    owner: Owner
    inode: int
    renewed_at: float


def read_signature(path: Path) -> Signature | None:
    """Read process.json; None if it is not there, or nobody's.

    It is opened before its time is read: then network file systems ask their server anew.
    """
    try:
        with path.open("rb") as file:
            noted = json.load(file)
            found = os.fstat(file.fileno())
        owner = Owner(
            pid=int(noted["pid"]),
            host=str(noted["host"]),
            since=datetime.fromisoformat(noted["since"]).isoformat(),
            where=str(noted["where"]),
            birth=str(noted["birth"]),
            is_locked=bool(noted["is_locked"]),
            folder=str(noted["folder"]),
            inode=int(noted["inode"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Signature(owner, found.st_ino, found.st_mtime)


def sign(path: Path, *, is_locked: bool) -> Owner:
    """Sign as this process, and return what was signed.

    Args:
        path: Of process.json.
        is_locked: Whether this process holds the system's lock.

    Raises:
        StorageError: The disk refused.
    """
    owner = Owner(
        pid=os.getpid(),
        host=platform.node(),
        since=datetime.now().astimezone().isoformat(timespec="seconds"),
        where=where_pids_count(),
        birth=birth_of(os.getpid()) or "",
        is_locked=is_locked,
        folder=str(path.parent.resolve()),
        inode=0,
    )

    def write(temporary: Path) -> None:
        temporary.touch()
        signed = replace(owner, inode=temporary.stat().st_ino)
        temporary.write_text(json.dumps(asdict(signed), indent=1), encoding="utf-8")

    write_atomically(path, write)
    return replace(owner, inode=path.stat().st_ino)
