"""A disk of one MiB of the test's own, that can really be full or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with (self.path / "filler").open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.path / "filler").unlink()

    def make_read_only(self) -> None:
        _call("mount", "-o", "remount,ro", str(self.path))

    def make_writable(self) -> None:
        _call("mount", "-o", "remount,rw", str(self.path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    try:
        _call("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk cannot be mounted as user {os.geteuid()}: {error}")
    try:
        yield SmallDisk(path)
    finally:
        _call("umount", "--lazy", str(path))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
