"""A data set's content: what is stored, or else the first source that gives the true one.

Only content whose sha256 is that of the catalogue is ever used, whichever way it came. This module
does not import torch, so that a set can be loaded in a thread while torch is being imported.
"""

from __future__ import annotations

import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from traintime.data.cache import (
    DamagedError,
    differing,
    looks_stored,
    noted_source,
    read_stored,
    store,
    throw_away,
)
from traintime.data.catalogue import DataFacts, Source, find
from traintime.data.draw import Labels, PartRows
from traintime.data.formats import Bytes, Parts
from traintime.data.image_store import ImageStore
from traintime.data.sources import SourceError, obtain
from traintime.errors import DataUnavailableError
from traintime.ledger.atomic import refused_writes_explained

Say = Callable[[str], None]

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class RawImages:
    """A data set as it is published.

    Args:
        images: uint8, (N, H, W, C), of the training part, or of all if there is no other; or where
            they are, if they are not in memory.
        labels: (N,), the class of each.
        test_images: uint8, (M, H, W, C), or None if the set has no test split of its own.
        test_labels: (M,), or None.
        source: Where the content came from, for the record of a run.
        parts: Which rows each part has, if that is settled; else a recipe's seed draws them.
        damage: What has to be kept in mind of damaged images, in sentences.
    """

    images: Bytes | ImageStore
    labels: Labels
    test_images: Bytes | None
    test_labels: Bytes | None
    source: str
    parts: PartRows | None = None
    damage: tuple[str, ...] = ()


def load_raw(name: str, say: Say) -> RawImages:
    """Return a data set's content, fetching it if this machine does not have it yet.

    Args:
        name: The data set.
        say: Is told, in single lines, of everything that takes time or went wrong.

    Raises:
        UnknownNameError: There is no such data set.
        DataUnavailableError: No source gave the true content.
        StorageError: The disk refused to keep it.
    """
    facts = find(name)
    if not facts.sources:
        return _raw(_shipped(facts), "shipped with traintime")
    with _one_at_a_time:
        return _stored(facts, say) or _fetched(facts, say)


def check_cached(name: str) -> bool:
    """Say whether `load_raw` will find a data set here, judged by the sizes of its files."""
    facts = find(name)
    return not facts.sources or looks_stored(facts)


def _raw(parts: Parts, source: str) -> RawImages:
    return RawImages(
        parts["train_images"],
        parts["train_labels"],
        parts.get("test_images"),
        parts.get("test_labels"),
        source,
    )


def _shipped(facts: DataFacts) -> Parts:
    parts = _read_shipped(facts)
    if parts is None or differing(facts, parts):
        raise DataUnavailableError(
            f"The {facts.title} that come with traintime are damaged. "
            "Install it again with: pip install --force-reinstall --no-deps traintime"
        )
    return parts


def _read_shipped(facts: DataFacts) -> Parts | None:
    packed = files("traintime.data").joinpath(f"{facts.name}.npz")
    try:
        with packed.open("rb") as file, np.load(file) as archive:
            return {part: archive[part] for part in facts.part_shapes}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _stored(facts: DataFacts, say: Say) -> RawImages | None:
    """Return what is stored, or None if it is not complete or had to be thrown away."""
    try:
        parts = read_stored(facts)
    except DamagedError as error:
        say(f"The stored copy of {facts.title} is damaged ({error}); getting it again")
        throw_away(facts)
        return None
    return _raw(parts, noted_source(facts)) if parts else None


def _fetched(facts: DataFacts, say: Say) -> RawImages:
    refusals: list[str] = []
    before = ""
    for source in facts.sources:
        say(f"Getting {facts.title}: {before}trying the {source.title}")
        try:
            parts = _from_source(facts, source)
        except SourceError as error:
            refusals.append(f"{source.title}: {error}")
            before = f"{source.title} {error}; "
            continue
        store(facts, parts, source.title)
        num_images = sum(len(parts[part]) for part in parts if part.endswith("_images"))
        say(f"Got {facts.title}: {num_images:,} images from the {source.title}, content verified")
        return _raw(parts, source.title)
    raise DataUnavailableError(_unavailable(facts, refusals))


def _from_source(facts: DataFacts, source: Source) -> Parts:
    """Return the verified parts, writable and in the order of memory that the checksums mean."""
    with (
        refused_writes_explained(Path(tempfile.gettempdir()) / facts.name),
        tempfile.TemporaryDirectory(prefix="traintime-") as folder,
    ):
        parts = obtain(source, facts, Path(folder))
    parts = {part: np.require(array, np.uint8, ["C", "W"]) for part, array in parts.items()}
    wrong = differing(facts, parts)
    if wrong:
        raise SourceError(f"refused, its content is not the true one ({', '.join(wrong)} differ)")
    return parts


def _unavailable(facts: DataFacts, refusals: list[str]) -> str:
    listed = "".join(f"\n  {refusal}" for refusal in refusals)
    return (
        f"{facts.title} is not on this machine and none of its sources gave it:{listed}\n"
        "Try again with a network, or type data=digits, which needs none"
    )
