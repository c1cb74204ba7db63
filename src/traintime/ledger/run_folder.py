"""A run on disk: everything that was asked, forecast, seen and found, in one folder.

format.json         version of this layout
recipe.yaml         what was asked for, complete
environment.json    machine, versions, how it is computed
forecast.json       before the run
spare.json          these four once more, with checksums, should one be damaged
steps.jsonl         a record a few times a second
epochs.jsonl        a record per validation
eta.jsonl           the ETA as it moved
tensorboard/        curves, for tensorboard --logdir RUNS
checkpoints/        the last two
process.lock        locked by the process that is at work on it
result.json         how it ended; a run without it can be resumed
model.safetensors   the trained weights
report.html         all of this, to look at

Where there is a reason for it:

process.json        which process is at work on it, while one is
commands/           what it was told and has not taken up yet
changes.jsonl       what it was told while it was trained, and what that changed
events.jsonl        faults that it survived
usage.jsonl         what its process used, a sample every two seconds
profile.json        where a step goes, if it was profiled
data.json           data of one's own: how many, and those that could not be used
data-files.gz       the list of their files, with sizes and times of change
data-table.gz       of a table: its columns, its classes, and checksums
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from traintime.errors import RunFolderError
from traintime.ledger.atomic import (
    refused_writes_explained,
    remove_leftovers,
    write_bytes_atomically,
)
from traintime.ledger.record_file import forget_after, read_records
from traintime.ledger.run_lock import RunLock
from traintime.ledger.spare import restore, write_with_spare

FORMAT = 1
SPARED = ("format.json", "recipe.yaml", "environment.json", "forecast.json")


class RunFolder:
    """The folder of one run.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._lock = RunLock(path)

    @classmethod
    def create(cls, parent: Path, name: str, version: str) -> RunFolder:
        """Make a new folder with a name of its own: date, time and what is trained.

        Raises:
            StorageError: The disk refused.
        """
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
            path = parent / f"{stamp}-{name}{suffix}"
            with refused_writes_explained(path):
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    continue
                folder = cls(path)
                folder.checkpoints.mkdir()
            folder.write_json("format", {"format": FORMAT, "traintime": version})
            return folder
        raise RunFolderError(f"No free name like '{parent / stamp}-{name}'; clean up with: ls")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing folder.

        Raises:
            RunFolderError: It is none, or was written by another version.
        """
        folder = cls(path)
        try:
            written = folder.read_json("format")
        except RunFolderError:
            if restore(path / "format.json"):
                return cls.open(path)
            if (path / "format.json").is_file():
                raise
            raise RunFolderError(
                f"'{path}' is no run folder; `traintime runs list` shows those there are"
            ) from None
        if written.get("format") != FORMAT:
            raise RunFolderError(
                f"'{path}' has format {written.get('format')}, written by traintime "
                f"{written.get('traintime', '?')}; this version reads format {FORMAT}. "
                f"Install that version: pip install 'traintime=={written.get('traintime', '?')}'"
            )
        return folder

    @property
    def name(self) -> str:
        """The folder's own name, by which the command line knows the run."""
        return self.path.name

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / "result.json").is_file()

    def claim(self) -> str | None:
        """Take the right to work on the run, that one process at a time has: see `RunLock`.

        Returns:
            What to say if a process that is gone had not released it; else None.

        Raises:
            RunFolderError: Another process is at work on the run.
            StorageError: The disk refused.
        """
        return self._lock.claim()

    def release(self) -> None:
        """Give back what `claim` took."""
        self._lock.release()

    @property
    def is_running(self) -> bool:
        """Whether a process, here or on another machine, is at work on the run."""
        return self._lock.living_owner() is not None

    def refuse_if_lost(self) -> None:
        """Refuse to go on if this process was suspended for so long that another took over.

        Only another machine can, one that sees neither this process nor its lock. Nothing may be
        written to the folder then.

        Raises:
            RunFolderError: Names the process that did.
        """
        if self._lock.taken_over_by:
            raise RunFolderError(
                f"The run '{self.name}' was taken over by {self._lock.taken_over_by} while this "
                "process gave no sign of life. Nothing is lost: it goes on there"
            )

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write `name`.json whole."""
        path = self.path / f"{name}.json"
        text = json.dumps(values, indent=1, ensure_ascii=False)
        if path.name in SPARED:
            write_with_spare(path, text)
        else:
            write_bytes_atomically(path, text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read `name`.json.

        Raises:
            RunFolderError: It is missing or damaged.
        """
        path = self.path / f"{name}.json"
        try:
            values = dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise RunFolderError(
                f"'{path}' is missing: the run had not come so far. "
                f"See it with: traintime runs show {self.name}"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise RunFolderError(
                f"'{path}' is damaged ({error}). Run the recipe again: "
                f"traintime train '{self.path / 'recipe.yaml'}'"
            ) from None
        return values

    def write_recipe(self, values: Mapping[str, Any]) -> None:
        """Write recipe.yaml."""
        write_with_spare(self.path / "recipe.yaml", yaml.safe_dump(dict(values), sort_keys=False))

    def read_recipe(self) -> dict[str, Any]:
        """Read recipe.yaml.

        Raises:
            RunFolderError: It is missing or damaged.
        """
        path = self.path / "recipe.yaml"
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunFolderError(f"'{path}' cannot be read ({error}); start a new run") from None
        if not isinstance(values, dict):
            raise RunFolderError(f"'{path}' holds no recipe; start a new run")
        return {str(key): value for key, value in values.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    def records(
        self,
        name: str,
        say: Callable[[str], None] | None = None,
        needed: Collection[str] = (),
    ) -> Iterator[dict[str, Any]]:
        """Yield the records of `name`.jsonl that are whole; see `read_records`."""
        return read_records(self.path / f"{name}.jsonl", say, needed)

    def forget_after(
        self, name: str, key: str, last: float, say: Callable[[str], None] | None = None
    ) -> None:
        """Drop the records of `name`.jsonl whose `key` is beyond what is resumed from."""
        forget_after(self.path / f"{name}.jsonl", key, last, say)

    def mend(self, say: Callable[[str], None]) -> None:
        """Put right what a crash or a bad disk did to the files that a resumed run needs.

        Args:
            say: Told in a sentence about each file.

        Raises:
            StorageError: The disk refused.
        """
        remove_leftovers(self.path)
        for name in SPARED:
            done = restore(self.path / name)
            if done:
                say(done)
        try:
            self.read_json("environment")
        except RunFolderError as error:  # facts for the report; training needs none of them
            self.write_json("environment", {})
            say(f"What the run began on is lost: {error}")

    def delete(self) -> None:
        """Remove the folder and everything in it.

        Raises:
            StorageError: The disk refused.
        """
        with refused_writes_explained(self.path):
            shutil.rmtree(self.path)
