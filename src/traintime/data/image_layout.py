"""What lies in a folder of images: parts, classes and files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Part = Literal["train", "validation", "test"]
File = tuple[str, int, int]
"""Name, bytes, and when it was changed in ns; -1 bytes if the file cannot be looked at."""

MOST_NAMES = 3


@dataclass(frozen=True)
class Layout:
    """What lies in a folder of images.

    Args:
        folders: Where each part lies, relative to the folder; "" if it is the folder itself.
        files: By part and class, sorted by name.
        ignored: Folders that belong to no class.
    """

    folders: Mapping[Part, str]
    files: Mapping[Part, Mapping[str, tuple[File, ...]]]
    ignored: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return tuple(self.files["train"])

    def count(self, part: Part) -> int:
        """Return how many images a part has."""
        return sum(len(files) for files in self.files.get(part, {}).values())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The path of each image relative to the folder: part by part, class by class."""
        return tuple(
            "/".join(filter(None, (self.folders[part], name, file[0])))
            for part, classes in self.files.items()
            for name, files in classes.items()
            for file in files
        )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each image's file, in the order of `names`."""
        return tuple(file[1] for _, _, file in self._each())

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The class of each image, in the order of `names`."""
        number = {name: label for label, name in enumerate(self.classes)}
        return tuple(number[name] for _, name, _ in self._each())

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of names, sizes and times of change."""
        return hashlib.sha256(json.dumps(self.to_json()["files"]).encode()).hexdigest()

    def _each(self) -> Iterator[tuple[Part, str, File]]:
        for part, classes in self.files.items():
            for name, files in classes.items():
                for file in files:
                    yield part, name, file

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "folders": dict(self.folders),
            "files": {part: dict(classes) for part, classes in self.files.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Layout:
        """Return the layout that `to_json` made plain."""
        return cls(
            values["folders"],
            {
                part: {name: tuple(map(_as_file, files)) for name, files in classes.items()}
                for part, classes in values["files"].items()
            },
        )


def _as_file(values: tuple[str, int, int]) -> File:
    name, size, changed = values
    return name, size, changed


def listed(names: list[str]) -> str:
    """Return the first few of a list in words: "a, b, c and 4 more"."""
    more = len(names) - MOST_NAMES
    return ", ".join(map(printable, names[:MOST_NAMES])) + (
        f" and {more:,} more" if more > 0 else ""
    )


def printable(name: str) -> str:
    """Return a name that may stand in a file, whatever bytes it has on the disk."""
    return os.fsencode(name).decode(errors="backslashreplace")


def differences(before: Layout, now: Layout) -> str:
    """Return in words which files were removed, added and changed."""
    old, new = (_by_name(layout) for layout in (before, now))
    kinds = {
        "removed": [name for name in old if name not in new],
        "added": [name for name in new if name not in old],
        "changed": [name for name in old if name in new and old[name] != new[name]],
    }
    return "; ".join(f"{len(n):,} {kind} ({listed(n)})" for kind, n in kinds.items() if n)


def _by_name(layout: Layout) -> dict[str, File]:
    files = (
        file for classes in layout.files.values() for files in classes.values() for file in files
    )
    return dict(zip(layout.names, files, strict=True))
