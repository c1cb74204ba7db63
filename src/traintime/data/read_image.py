"""Image files of any usual kind as small squares, and what is wrong with those that cannot be.

Files come from anywhere: each is opened as one of a few formats alone, and no error of one reaches
the others. The decoders release the interpreter's lock, so threads read side by side.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from traintime.errors import MissingExtraError

if TYPE_CHECKING:  # a worker does without what they import
    from traintime.data.formats import Bytes

try:
    from PIL import Image, UnidentifiedImageError, __version__
    from PIL import TiffImagePlugin as Tiff
    from PIL import WebPImagePlugin as WebP
except ImportError:
    raise MissingExtraError("Reading images", "train", "pillow") from None

assert Tiff, "importing it is what makes PIL know the format"
assert WebP

DECODER = f"Pillow {__version__}"
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
GREY_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By Exif's tag 274, "orientation": what brings the image upright."""
ORIENTATION = 274
FIRST_SAID_S, MOST_BETWEEN_S = 5.0, 60.0

OnProgress = Callable[[int, float], object]
"""Told now and then how many have been read, and in how many seconds."""


class UnreadableError(Exception):
    """A file is no image, or a damaged one; the message says what is wrong with it."""


@dataclass(frozen=True)
class ReadImages:
    """Images, with those that could not be read.

    Args:
        images: uint8, (N, side, side, 3); black where an image could not be read.
        unreadable: What is wrong, by row.
    """

    images: Bytes
    unreadable: dict[int, str]


def read_image(path: Path, side: int) -> Bytes:
    """Return the square in an image's middle, resized to (side, side, 3).

    It is turned upright as its Exif data say; what is transparent becomes white; of an animation
    the first picture counts.

    Raises:
        UnreadableError: It cannot be.
    """
    try:
        if not path.is_file():
            raise UnreadableError("leads nowhere" if path.is_symlink() else "is gone")
        if not path.stat().st_size:
            raise UnreadableError("is empty")
        with Image.open(path, formats=FORMATS) as image:
            return _as_array(image, side)
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("is no image of a known format") from None
    except Image.DecompressionBombError:
        raise UnreadableError("claims to have more pixels than any photo") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableError(str(reason)) from None


def _as_array(image: Image.Image, side: int) -> Bytes:
    image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded no larger than is needed
    image.load()  # before its Exif data: those of a PNG would load it, and hide what goes wrong
    upright = UPRIGHT.get(_orientation(image))
    picture = _in_colour(image)
    width, height = picture.size
    shorter = min(width, height)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    middle = (left, top, left + shorter, top + shorter)
    picture = picture.resize((side, side), Image.Resampling.BILINEAR, middle)
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    return np.asarray(picture if upright is None else picture.transpose(upright))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a photo with damaged Exif data is still a photo
        return 1


def _in_colour(image: Image.Image) -> Image.Image:
    """Return an image in RGB, or in RGBA if parts of it are transparent."""
    if image.mode in GREY_16_BIT:  # PIL would cut off what is brighter than 255
        shades = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(shades.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB")


def read_images(
    paths: Sequence[Path], side: int, on_progress: OnProgress | None = None
) -> ReadImages:
    """Read images with all cores.

    Args:
        paths: Where they are.
        side: Pixels of a side to resize them to.
        on_progress: Called after a few seconds, and then more and more rarely.
    """
    # What PIL has to say of odd files is said in the reasons, where it matters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    images = np.zeros((len(paths), side, side, 3), np.uint8)
    unreadable: dict[int, str] = {}
    rows, lock = iter(range(len(paths))), threading.Lock()
    begun = 0

    def work() -> None:
        nonlocal begun
        while True:
            with lock:
                row = next(rows, None)
                if row is None:
                    return
                begun = row
            try:
                images[row] = read_image(paths[row], side)
            except UnreadableError as error:
                unreadable[row] = str(error)

    # No pool: its threads would finish all of the work before the process may end.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(usable_cores())]
    began = perf_counter()
    for thread in threads:
        thread.start()
    for wait_s in _waits():
        if not _still_alive(threads, wait_s):
            break
        if on_progress:
            on_progress(begun, perf_counter() - began)
    return ReadImages(images, dict(sorted(unreadable.items())))


def _waits() -> Iterator[float]:
    wait_s = FIRST_SAID_S
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, MOST_BETWEEN_S)


def _still_alive(threads: Sequence[threading.Thread], wait_s: float) -> bool:
    """Wait until all threads have ended, but not longer than some seconds."""
    until = perf_counter() + wait_s
    for thread in threads:
        thread.join(max(0.0, until - perf_counter()))
    return any(thread.is_alive() for thread in threads)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
