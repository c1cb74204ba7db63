"""The images of a folder as a data set: divided, read, kept, and without those that are damaged.

The split is drawn from the list of files, before any is read: a damaged image leaves a gap in its
part and moves no other sample, neither between parts nor in the order of training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from traintime.data.catalogue import DataFacts, split_sizes
from traintime.data.draw import Labels, PartRows, Rows, divide
from traintime.data.fetch import RawImages, Say
from traintime.data.formats import Bytes
from traintime.data.image_cache import facts_of, has_copy, keep_copy, read_copy, read_facts
from traintime.data.image_layout import Layout, Part, printable
from traintime.data.image_store import FACTS, ImageStore, KnownImages
from traintime.data.input_plan import IN_MEMORY, InputPlan
from traintime.data.read_image import DECODER, FIRST_SAID_S, MOST_BETWEEN_S, ReadImages, read_images
from traintime.errors import InputError, StorageError
from traintime.recipe import Recipe
from traintime.units import format_duration

PART_BYTES = 64 * 2**20
"""Of the pixels that are held at once, where not all are to be in memory."""


@dataclass(frozen=True)
class OwnImages:
    """Images of a folder, ready to be prepared.

    Args:
        raw: The images and their parts.
        used: How many images the parts were drawn with.
        left_out: Images that no part has, since they cannot be read: name to reason.
        replaced: Images that another of their class stands in for, since they could be read when
            the run began and cannot be now.
    """

    raw: RawImages
    used: int
    left_out: Mapping[str, str]
    replaced: Mapping[str, str]


@dataclass(frozen=True)
class UsedImages:
    """Which images of a folder a recipe uses.

    Args:
        folder: Where they are.
        side: Pixels that they are resized to.
        rows: Of the layout's names, ascending.
        names: Relative to the folder.
        labels: (N,), their classes.
        parts: Rows of `names`.
        key: Names what they hold once they are read.
    """

    folder: Path
    side: int
    rows: Rows
    names: tuple[str, ...]
    labels: Labels
    parts: PartRows
    key: str

    @property
    def is_kept(self) -> bool:
        """Whether they have been read before and need not be again."""
        return has_copy(self.key)

    @property
    def is_known(self) -> bool:
        """Whether they have been read before, be their pixels kept or not."""
        known = read_facts(self.key)
        return known is not None and (known.array is not None or known.decoder == DECODER)

    @property
    def paths(self) -> list[Path]:
        """Where each is."""
        return [self.folder / name for name in self.names]


def used_images(recipe: Recipe, facts: DataFacts) -> UsedImages:
    """Return which images of a folder a recipe uses, and for what.

    Raises:
        InputError: More training samples, or larger batches, than there are.
    """
    folder, layout = facts.folder, facts.layout
    assert folder
    assert layout
    labels = np.array(layout.labels, np.int64)
    own = _rows_of_parts(layout)
    sizes = split_sizes(facts, recipe)
    parts = divide(labels, recipe, sizes, own["train"], own.get("test"), own.get("validation"))
    rows = np.unique(np.concatenate([rows for rows in _each(parts) if rows is not None]))
    what = f"{layout.fingerprint}/{facts.shape[1]}"
    if len(rows) < len(labels):
        what += "/" + hashlib.sha256(rows.tobytes()).hexdigest()
    return UsedImages(
        folder=folder,
        side=facts.shape[1],
        rows=rows,
        names=tuple(layout.names[row] for row in rows),
        labels=labels[rows],
        parts=PartRows(*(None if r is None else np.searchsorted(rows, r) for r in _each(parts))),  # pyright: ignore[reportArgumentType]
        key=hashlib.sha256(what.encode()).hexdigest(),
    )


def _each(parts: PartRows) -> tuple[Rows, Rows | None, Rows]:
    return parts.train, parts.validation, parts.test


def _rows_of_parts(layout: Layout) -> dict[Part, Rows]:
    rows: dict[Part, Rows] = {}
    start = 0
    for part in layout.files:
        rows[part] = np.arange(start, start + layout.count(part))
        start += layout.count(part)
    return rows


def load_own(
    recipe: Recipe,
    used: UsedImages,
    say: Say,
    left_out: Mapping[str, str] | None = None,
    plan: InputPlan = IN_MEMORY,
) -> OwnImages:
    """Read the images of a folder, or take the copy that is kept of them.

    Args:
        recipe: Says how many samples a batch has.
        used: Which images.
        say: Is told, in single lines, of everything that takes time or went wrong.
        left_out: Images that a run was begun without; None if it begins.
        plan: Whether they stay in memory, or where they are else.

    Raises:
        InputError: Nothing is left of a class, or of a part.
        StorageError: The disk has no room for the copy that was asked for.
    """
    images, bad_rows = (
        _in_memory(used, say) if plan.is_resident else _stored(used, say, plan, recipe)
    )
    unreadable = {printable(used.names[row]): why for row, why in bad_rows.items()}
    missing = unreadable if left_out is None else left_out
    new = {name: why for name, why in unreadable.items() if name not in missing}
    place = {printable(name): row for row, name in enumerate(used.names)}
    gaps = np.array([place[name] for name in missing if name in place], np.int64)
    gone = np.array([place[name] for name in new], np.int64)
    train, validation, test = (
        None if rows is None else filled(_without(rows, gaps), gone, used.labels)
        for rows in _each(used.parts)
    )
    assert train is not None
    assert test is not None
    while recipe.batch_norm and 0 < recipe.smallest_micro_batch(len(train)) < 2:
        train = train[:-1]  # the normalisation of one sample alone is not defined
    _refuse_nothing_left(used, train, validation, test)
    parts = PartRows(train, validation, test)
    source = f"{len(used.names):,} images in '{used.folder}'"
    raw = RawImages(images, used.labels, None, None, source, parts)
    return OwnImages(raw, len(used.names), missing, new)


def _without(rows: Rows, gaps: Rows) -> Rows:
    return rows[~np.isin(rows, gaps)]


def filled(rows: Rows, gone: Rows, labels: Labels) -> Rows:
    """Put another row of the part in the place of each that is gone, of the same class if any."""
    is_gone = np.isin(rows, gone)
    filled = rows.copy()
    for place in np.flatnonzero(is_gone):
        fellows = rows[~is_gone & (labels[rows] == labels[rows[place]])]
        others = fellows if len(fellows) else rows[~is_gone]
        if len(others):
            filled[place] = others[place % len(others)]
    return filled


def _refuse_nothing_left(
    used: UsedImages, train: Rows, validation: Rows | None, test: Rows
) -> None:
    lost = len(np.unique(used.labels[used.parts.train])) - len(np.unique(used.labels[train]))
    empty = not len(test) or (validation is not None and not len(validation))
    if lost or empty or not len(train):
        what = f"{lost} of the classes" if lost else "a part to judge by"
        raise InputError(
            f"So many images in '{used.folder}' cannot be read that nothing is left of {what}. "
            "Mend or replace them"
        )


def _in_memory(used: UsedImages, say: Say) -> tuple[Bytes, dict[int, str]]:
    """Return all images, and which of them cannot be read."""
    read = _kept(used, say) or _read(used, say)
    return read.images, read.unreadable


def _kept(used: UsedImages, say: Say) -> ReadImages | None:
    if not used.is_kept:
        return None
    kept = read_copy(used.key)
    if kept is None:
        say(f"The copy of the images in '{used.folder.name}' is damaged; reading them again")
        return None
    rows = list(kept.unreadable)
    again = read_images([used.folder / used.names[row] for row in rows], used.side)
    kept.images[rows] = again.images  # a disk that failed then may be well again
    return ReadImages(kept.images, {rows[i]: why for i, why in again.unreadable.items()})


def _read(used: UsedImages, say: Say) -> ReadImages:
    read = read_images(used.paths, used.side, _progress(used, say))
    try:
        keep_copy(used.key, used.folder, read.images.shape, [read])
    except StorageError as error:
        say(f"The images as they were read are not kept, so the next run reads them again: {error}")
        return read
    # The file in place of the array, whose memory is needed for the parts.
    return read_copy(used.key) or read


def _stored(
    used: UsedImages, say: Say, plan: InputPlan, recipe: Recipe
) -> tuple[ImageStore, dict[int, str]]:
    """Return where the images are, and which of them cannot be read."""
    try:
        known = _known(used, say, array=plan.cache == "disk")
    except StorageError as error:
        if recipe.cache == "disk":
            raise
        say(f"{error}. The images are decoded again for each batch instead")
        known = _known(used, say, array=False)
    rows = list(known.unreadable)
    again = read_images([used.folder / used.names[row] for row in rows], used.side)
    unreadable = {rows[i]: why for i, why in again.unreadable.items()}
    for row, image in zip(rows, again.images, strict=True):
        if row not in unreadable:  # a disk that failed then is well again
            known.facts[row] = np.frombuffer(facts_of(image), FACTS)[0]
    return ImageStore(used.folder, used.names, used.side, known), unreadable


def _known(used: UsedImages, say: Say, *, array: bool) -> KnownImages:
    """Return what is known of images, read them first if that is not kept."""
    known = read_facts(used.key)
    is_enough = known and (known.array if array else known.decoder == DECODER)
    if not is_enough:
        shape = (len(used.names), used.side, used.side, 3)
        keep_copy(used.key, used.folder, shape, _in_parts(used, say), array=array)
        known = read_facts(used.key)
    if known is None:
        raise StorageError(
            f"What was just written of the images in '{used.folder}' is not what is read back. "
            "Check the disk that it is on"
        )
    return known if array else replace(known, array=None)


def _in_parts(used: UsedImages, say: Say) -> Iterator[ReadImages]:
    """Yield all images, as many at once as a little memory holds."""
    many = max(1, PART_BYTES // (3 * used.side**2))
    tell, began, tell_at_s = _progress(used, say), perf_counter(), FIRST_SAID_S
    for start in range(0, len(used.names), many):
        taken_s = perf_counter() - began
        if taken_s > tell_at_s:
            tell(start, taken_s)
            tell_at_s = min(2 * taken_s, taken_s + MOST_BETWEEN_S)
        names = used.names[start : start + many]
        yield read_images([used.folder / name for name in names], used.side)


def _progress(used: UsedImages, say: Say) -> Callable[[int, float], None]:
    total = len(used.names)

    def tell(done: int, seconds: float) -> None:
        left = seconds * (total - done) / max(1, done)
        say(f"Read {done:,} of {total:,} images; about {format_duration(left)} left")

    return tell
