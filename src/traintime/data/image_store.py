"""Images that stay on the disk, and what is known of each without reading it.

This module imports neither torch nor PIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from traintime.data.pixel_statistics import Statistics, statistics_of_sums

if TYPE_CHECKING:  # a worker does without what they import
    from traintime.data.draw import Rows
    from traintime.data.formats import Bytes

FACTS = np.dtype([("crc32", "<u4"), ("sums", "<u8", (3,)), ("squares", "<u8", (3,))])
"""Of an image: a checksum of its pixels, and for each channel their sum and that of their squares,
which are exact and give mean and deviation of any part of the images."""
Wanted = tuple[int, int, str]
"""An image that is to be read: its row, the checksum of its pixels, and its file."""


@dataclass(frozen=True)
class KnownImages:
    """What is known of each image.

    Args:
        facts: (N,) of FACTS.
        unreadable: What was wrong with images when they were read, by row.
        array: The file of their pixels, (N, side, side, 3), if that is kept.
        decoder: Version of what read them; another one may round otherwise.
    """

    facts: NDArray[np.void]
    unreadable: dict[int, str]
    array: Path | None
    decoder: str


@dataclass(frozen=True)
class ImageStore:
    """The images of a folder, where they are.

    Args:
        folder: Where their files are.
        names: Relative to the folder.
        side: Pixels that they are resized to.
        known: What is known of each.
    """

    folder: Path
    names: tuple[str, ...]
    side: int
    known: KnownImages

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: (H, W, C)."""
        return self.side, self.side, 3

    def wanted(self, rows: Sequence[int] | Rows) -> list[Wanted]:
        """Return all that is needed to read some rows."""
        checksums, prefix = self.known.facts["crc32"], f"{self.folder}/"
        return [(int(row), int(checksums[row]), prefix + self.names[row]) for row in rows]

    def image(self, row: int) -> Bytes:
        """Return one image; whatever there is of it if it cannot be read."""
        from traintime.data.image_reader import ImageReader  # PIL is not needed for other data

        out = np.zeros((1, *self.shape), np.uint8)
        with closing(ImageReader(self.known.array, self.side)) as reader:
            reader.read(self.wanted([row]), out)
        return out[0]

    def statistics(self, rows: Rows) -> Statistics:
        """Return mean and deviation of each channel over some rows; none of them is read."""
        facts = self.known.facts[rows]
        pixels = len(rows) * self.side * self.side
        return statistics_of_sums(facts["sums"].sum(0), facts["squares"].sum(0), pixels)
