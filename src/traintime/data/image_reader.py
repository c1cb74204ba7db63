"""Reading images one by one, each from the file of their pixels or from its own.

What an image holds depends on its row alone, so any process may read it, in any order. One whose
checksum does not fit what is kept of it is read anew from its own file, and put back in its place.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from traintime.data.image_store import Wanted
from traintime.data.read_image import UnreadableError, read_image

if TYPE_CHECKING:  # a worker does without what they import
    from traintime.data.formats import Bytes


@dataclass(frozen=True)
class ReadBatch:
    """What came of reading images.

    Args:
        unreadable: What is wrong, by their place in the batch.
        mended: How many were damaged where they are kept.
    """

    unreadable: dict[int, str] = field(default_factory=dict[int, str])
    mended: int = 0


class ImageReader:
    """Reads images: from the file of their pixels where that is whole, else from their own.

    Args:
        array: File of the pixels of all, or None if it is not kept.
        side: Pixels that they are resized to.
    """

    def __init__(self, array: Path | None, side: int) -> None:
        self._side = side
        self._array = _opened(array) if array else None

    def read(self, wanted: Iterable[Wanted], out: Bytes) -> ReadBatch:
        """Read images into an array (B, side, side, 3)."""
        unreadable: dict[int, str] = {}
        mended = 0
        for place, (row, checksum, path) in enumerate(wanted):
            image = out[place]
            if self._array and self._take_kept(self._array, row, image) == checksum:
                continue
            try:
                image[...] = read_image(Path(path), self._side)
            except UnreadableError as error:
                image[...] = 0
                unreadable[place] = str(error)
                continue
            if zlib.crc32(image.data) != checksum:
                unreadable[place] = "has changed since it was first read"
            elif self._array:
                mended += 1
                self._put_back(self._array, row, image)
        return ReadBatch(unreadable, mended)

    def close(self) -> None:
        """Let go of the file of the pixels."""
        if self._array:
            self._array.close()

    @staticmethod
    def _take_kept(array: FileIO, row: int, image: Bytes) -> int | None:
        """Fill an image with what is kept of it; return the checksum of that, if all is there.

        Reading fails with an error where a mapped page would end the process.
        """
        with suppress(OSError):
            array.seek(row * image.nbytes)
            if array.readinto(image.data) == image.nbytes:
                return zlib.crc32(image.data)
        return None

    @staticmethod
    def _put_back(array: FileIO, row: int, image: Bytes) -> None:
        with suppress(OSError):  # a disk that takes nothing more is read around
            array.seek(row * image.nbytes)
            array.write(image.data)


def _opened(path: Path) -> FileIO | None:
    for mode in ("r+", "r"):
        with suppress(OSError):
            return FileIO(path, mode)
    return None
