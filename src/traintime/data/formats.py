"""The file formats that data sets are published in, read into arrays.

Every reader takes a folder of unpacked files and returns the parts "train_images" (N, H, W, C),
"train_labels" (N,), "test_images" and "test_labels", all uint8. What a file holds is checked by the
caller against the checksums of the catalogue, so a reader needs no suspicion of its own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from traintime.data.catalogue import DataFacts, Form
from traintime.errors import MissingExtraError

Bytes = NDArray[np.uint8]
Parts = dict[str, Bytes]
Reader = Callable[[Path, DataFacts], Parts]

_IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_CIFAR_BATCHES = range(1, 6)


def read(form: Form, folder: Path, facts: DataFacts) -> Parts:
    """Return the parts that the files below a folder hold.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file holds another number of bytes than it should.
    """
    return _READERS[form](folder, facts)


def _find(folder: Path, pattern: str) -> Path:
    for path in sorted(folder.rglob(pattern)):
        return path
    raise FileNotFoundError(f"it holds no file {pattern}")


def _read_idx(folder: Path, facts: DataFacts) -> Parts:
    """Read the format of MNIST: 4 bytes of magic, 4 per dimension, then the values.

    References:
        LeCun, http://yann.lecun.com/exdb/mnist/, "File formats".
    """
    shapes = facts.part_shapes
    return {
        part: _idx(_find(folder, f"{name}*")).reshape(shapes[part])
        for part, name in _IDX_FILES.items()
    }


def _idx(path: Path) -> Bytes:
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    num_dimensions = content[3]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_dimensions)


def _read_csv(folder: Path, facts: DataFacts) -> Parts:
    """Read one line per image, the label first, below a line of headings."""
    parts: Parts = {}
    for part in ("train", "test"):
        path = _find(folder, f"*_{part}.csv")
        table = np.loadtxt(path, dtype=np.uint8, delimiter=",", skiprows=1)  # (N, 1 + H*W*C)
        parts[f"{part}_images"] = table[:, 1:].reshape(facts.part_shapes[f"{part}_images"])
        parts[f"{part}_labels"] = table[:, 0]
    return parts


def _read_cifar_bin(folder: Path, facts: DataFacts) -> Parts:
    """Read records of one byte of label and an image as (C, H, W).

    References:
        Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
    """
    train = np.concatenate(
        [_records(_find(folder, f"data_batch_{i}.bin"), facts) for i in _CIFAR_BATCHES]
    )
    parts: Parts = {}
    for part, records in (
        ("train", train),
        ("test", _records(_find(folder, "test_batch.bin"), facts)),
    ):
        images = records[:, 1:].reshape(-1, *facts.shape)  # (N, C, H, W)
        parts[f"{part}_images"] = images.transpose(0, 2, 3, 1)
        parts[f"{part}_labels"] = records[:, 0]
    return parts


def _records(path: Path, facts: DataFacts) -> Bytes:
    return np.fromfile(path, np.uint8).reshape(-1, 1 + facts.sample_bytes)


def _read_cifar_png(folder: Path, facts: DataFacts) -> Parts:
    """Read pictures whose every row of pixels is one image, with the labels in JSON lists."""
    train = [_png(_find(folder, f"data_batch_{i}.png"), facts) for i in _CIFAR_BATCHES]
    return {
        "train_images": np.concatenate(train),
        "train_labels": _json_labels(_find(folder, "train_lables.json")),  # spelled so there
        "test_images": _png(_find(folder, "test_batch.png"), facts),
        "test_labels": _json_labels(_find(folder, "test_lables.json")),
    }


def _png(path: Path, facts: DataFacts) -> Bytes:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("Reading images", "train", "pillow") from None
    channels, height, width = facts.shape
    with Image.open(path) as image:
        return np.asarray(image, np.uint8).reshape(-1, height, width, channels)


def _json_labels(path: Path) -> Bytes:
    return np.array(cast("list[int]", json.loads(path.read_text(encoding="utf-8"))), np.uint8)


_READERS: dict[Form, Reader] = {
    "idx": _read_idx,
    "csv": _read_csv,
    "cifar-bin": _read_cifar_bin,
    "cifar-png": _read_cifar_png,
}
