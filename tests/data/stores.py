"""Small stores of images, with their pixels on the disk or only in their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from traintime.data.formats import Bytes
from traintime.data.image_cache import keep_copy, read_facts
from traintime.data.image_store import ImageStore, KnownImages
from traintime.data.read_image import read_images

from .pictures import photos

SIDE = 8


def store_of(root: Path, count: int = 20, *, array: bool = True) -> tuple[ImageStore, Bytes]:
    """Return so many images of each of two classes, and all their pixels."""
    photos(root, count)
    names = tuple(sorted(str(path.relative_to(root)) for path in root.glob("*/*")))
    read = read_images([root / name for name in names], SIDE)
    key = str(root).replace("/", "-")[-32:]
    keep_copy(key, root, read.images.shape, [read], array=array)
    known = read_facts(key)
    assert known
    return ImageStore(root, names, SIDE, known), np.array(read.images)


def array_of(known: KnownImages) -> Path:
    assert known.array
    return known.array
