"""Commands to a run that is being trained, from any shell that sees its folder.

Each is a file of its own, written whole, under a name that sorts by when it was given: so shells
need no lock among each other, and the run takes them up in order, each once. A command is removed
after what it did stands in changes.jsonl; killed in between, the run finds it there and does not
take it up twice.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from traintime.ledger.atomic import write_bytes_atomically

FOLDER = "commands"


@dataclass(frozen=True)
class Command:
    """Something that a running process is asked to do.

    Args:
        id: Sorts by when it was given.
        verb: "set", "extend", "pause", "continue", "save" or "stop".
        fields: Recipe fields by name, for "set" and "extend".
        by: Who gave it.
    """

    id: str
    verb: str
    fields: Mapping[str, Any]
    by: str

    @property
    def given_ns(self) -> int:
        """When it was given, in nanoseconds since 1970, by the clock of whoever gave it."""
        return int(self.id.partition("-")[0])


class Commands:
    """The commands that wait in a run folder.

    Args:
        run_folder: The folder of the run.
    """

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / FOLDER

    def send(self, verb: str, fields: Mapping[str, Any] | None = None) -> Command:
        """Leave a command for the run.

        Raises:
            StorageError: The disk refused.
        """
        moment = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        command = Command(moment, verb, dict(fields or {}), _sender())
        write_bytes_atomically(self._file(command), json.dumps(asdict(command)).encode())
        return command

    def waiting(self) -> list[Command]:
        """Return the commands that nobody has taken up yet, the first given first."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._path))
        except OSError:  # there are none, or a network's disk that is out of reach for now
            return []
        found = [self._read(self._path / name) for name in names if name.endswith(".json")]
        return [command for command in found if command]

    def is_waiting(self, command: Command) -> bool:
        """Say whether a command has not been taken up yet."""
        return self._file(command).exists()

    def remove(self, command: Command) -> None:
        """Forget a command that was taken up, or is not wanted any more."""
        with suppress(OSError):  # whoever takes it up again knows it by its id
            self._file(command).unlink(missing_ok=True)

    def _file(self, command: Command) -> Path:
        return self._path / f"{command.id}.json"

    @staticmethod
    def _read(path: Path) -> Command | None:
        """Return a command; what is no command is put out of the way, or it would wait for ever."""
        try:
            values = json.loads(path.read_bytes())
            found = Command(path.stem, values["verb"], dict(values["fields"]), str(values["by"]))
            return found if found.given_ns else None
        except OSError:  # it is gone, or out of reach for now
            return None
        except (ValueError, TypeError, KeyError):
            with suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
            return None


def _sender() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{user}@{platform.node()}, process {os.getpid()}"
