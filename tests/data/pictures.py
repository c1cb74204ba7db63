"""Image files, whole and damaged, as they come from cameras, programs and bad disks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(shade: int = 0, width: int = 12, height: int = 10, seed: int = 0) -> Image.Image:
    """An image of noise around one colour."""
    random = np.random.default_rng([shade, seed])
    pixels = np.array([shade, 255 - shade, 128]) + random.integers(-20, 21, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photos(
    root: Path, count: int = 30, classes: Iterable[str] = ("cats", "dogs"), ending: str = "png"
) -> Path:
    """A folder with so many images of each class, which their colour tells apart."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            picture(200 * number, seed=index).save(root / name / f"{index:03d}.{ending}")
    return root


def cut_short(path: Path, share: float = 0.6) -> None:
    """Leave the beginning of a file, as a broken download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def flip_bits(path: Path) -> None:
    """Change a byte in the middle of a file, as a bad disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def claim_size(path: Path, side: int) -> None:
    """Write the beginning of a PNG that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    empty = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + empty)
