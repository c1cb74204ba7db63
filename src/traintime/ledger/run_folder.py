"""A run on disk: everything that was asked, forecast, seen and found, in one folder.

format.json         version of this layout
recipe.yaml         what was asked for, complete
environment.json    machine, versions, how it is computed
forecast.json       before the run
steps.jsonl         a record a few times a second
epochs.jsonl        a record per validation
eta.jsonl           the ETA as it moved
checkpoints/        the last two
result.json         how it ended; a run without it can be resumed
model.safetensors   the trained weights
report.html         all of this, to look at
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from traintime.errors import RunFolderError
from traintime.ledger.atomic import refused_writes_explained, write_bytes_atomically

FORMAT = 1


class RunFolder:
    """The folder of one run.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

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
        if not (path / "format.json").is_file():
            raise RunFolderError(
                f"'{path}' is no run folder; `traintime runs list` shows those there are"
            )
        written = folder.read_json("format")
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

    def claim(self) -> None:
        """Note this process as the one that is at work on the run, in process.json.

        Raises:
            RunFolderError: Another one is.
        """
        owner = self._living_owner()
        if owner not in (None, os.getpid()):
            raise RunFolderError(
                f"The run '{self.name}' is being trained by process {owner} on this machine. "
                f"Wait for it, or stop it first: kill {owner}"
            )
        began = psutil.Process().create_time()
        process = {"pid": os.getpid(), "host": platform.node(), "began": began}
        self.write_json("process", process)

    def release(self) -> None:
        """Take back what `claim` noted."""
        (self.path / "process.json").unlink(missing_ok=True)

    @property
    def is_running(self) -> bool:
        """Whether a process of this machine is at work on the run."""
        return self._living_owner() is not None

    def _living_owner(self) -> int | None:
        """Return the process at work; a number that was given to another one since is none."""
        try:
            noted = self.read_json("process")
            process = psutil.Process(int(noted["pid"]))
            is_same = abs(process.create_time() - float(noted["began"])) < 1
        except (RunFolderError, KeyError, TypeError, ValueError, psutil.Error):
            return None
        return process.pid if is_same and noted.get("host") == platform.node() else None

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write `name`.json whole."""
        text = json.dumps(values, indent=1, ensure_ascii=False)
        write_bytes_atomically(self.path / f"{name}.json", text.encode())

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
        text = yaml.safe_dump(dict(values), sort_keys=False)
        write_bytes_atomically(self.path / "recipe.yaml", text.encode())

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

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the records of `name`.jsonl; a last line cut short by a crash is left out."""
        try:
            lines = (self.path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                return

    def forget_after(self, name: str, key: str, last: float) -> None:
        """Drop the records of `name`.jsonl whose `key` is beyond what is resumed from."""
        kept = [record for record in self.records(name) if record[key] <= last]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_bytes_atomically(self.path / f"{name}.jsonl", text.encode())

    def delete(self) -> None:
        """Remove the folder and everything in it.

        Raises:
            StorageError: The disk refused.
        """
        with refused_writes_explained(self.path):
            shutil.rmtree(self.path)


class RecordFile:
    """A growing file of JSON lines, each handed to the system as soon as it is written.

    Args:
        path: The file; records are added to what it holds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with refused_writes_explained(path):
            self._file = path.open("a", encoding="utf-8")

    def add(self, record: Mapping[str, Any]) -> None:
        """Write a record.

        Raises:
            StorageError: The disk refused.
        """
        with refused_writes_explained(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Write through to the disk."""
        with refused_writes_explained(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
