"""A run on images of one's own: what they were when it began, and that a resumed run has the same.

data.json         how many images it began with, and those that could not be read
data-files.gz     the list of their files, with sizes and times of change
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from traintime.api.job import KnownJob
from traintime.api.listener import Listener
from traintime.data.catalogue import DataFacts, facts_of_layout
from traintime.data.damage_bound import most_damaged, share_that_allows
from traintime.data.image_folder import PARTS, look_through
from traintime.data.image_layout import Layout, differences, listed, printable
from traintime.errors import InputError, RunFolderError
from traintime.ledger.atomic import write_bytes_atomically
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe

if TYPE_CHECKING:
    from traintime.data.fetch import RawImages
    from traintime.data.own_images import OwnImages, UsedImages
    from traintime.data.own_table import RawTable
    from traintime.data.prepare import PreparedParts

DATA, FILES = "data", "data-files.gz"


def note_images(folder: RunFolder, facts: DataFacts) -> None:
    """Keep in a run folder which images of a folder the run begins with."""
    assert facts.layout
    files = gzip.compress(json.dumps(facts.layout.to_json()).encode(), mtime=0)
    write_bytes_atomically(folder.path / FILES, files)
    folder.write_json(DATA, {"folder": facts.title, "fingerprint": facts.layout.fingerprint})


def noted_images(folder: RunFolder, recipe: Recipe) -> DataFacts | None:
    """Return the facts of the images that a run began with; None for other data.

    Raises:
        RunFolderError: The list of files is damaged.
    """
    if not (folder.path / FILES).is_file() or recipe.folder is None:
        return None
    try:
        values = json.loads(gzip.decompress((folder.path / FILES).read_bytes()))
        layout = Layout.from_json(values)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"'{folder.path / FILES}', the list of the images that the run began with, is damaged "
            f"({error}). {_anew(folder)}"
        ) from None
    return facts_of_layout(recipe.folder, layout, recipe.image_size or 0)


def load_images(
    job: KnownJob, folder: RunFolder, listener: Listener, *, resume: bool = False
) -> RawImages:
    """Return the images of a folder for a run.

    Args:
        job: What is trained.
        folder: Of the run; takes note of images of one's own that cannot be read.
        listener: Told of everything that takes time or went wrong.
        resume: Whether the images have to be those that the run began with.

    Raises:
        InputError: More images cannot be read than the recipe allows.
        RunFolderError: The images are others than those that the run began with.
        StorageError: The disk refused.
    """
    from traintime.data.own_images import load_own, used_images

    used = used_images(job.recipe, job.facts)
    if resume:
        _refuse_changed(used, job, folder, listener)
    noted = _noted(folder)
    begins = noted.get("left_out") is None
    if begins:
        for line in _of_layout(job.facts):
            listener.say(line)
    own = load_own(job.recipe, used, listener.say, noted.get("left_out"), job.input)
    if {**noted, **_to_note(own)} != noted:
        folder.write_json(DATA, {**noted, **_to_note(own)})
    _refuse_too_many(own, job.recipe, folder)
    told = _told(own, begins=begins)
    for line in told:
        listener.say(line)
    return replace(own.raw, damage=tuple(told))


def _of_layout(facts: DataFacts) -> Iterator[str]:
    """Yield what is not plain to see of how a folder was understood."""
    assert facts.layout
    layout = facts.layout
    if layout.folders.get("test", "").casefold() in PARTS["validation"]:
        yield (
            f"There is no folder 'test': '{layout.folders['test']}' is what the final score is "
            f"of, and a part of '{layout.folders['train']}' is held out to watch"
        )
    if layout.ignored:
        yield f"Passed over, as no folders of images of a class: {listed(list(layout.ignored))}"


def _refuse_changed(used: UsedImages, job: KnownJob, folder: RunFolder, listener: Listener) -> None:
    """Refuse a folder that is not what it was, unless a whole copy of its images is kept."""
    assert job.facts.layout
    try:
        now = look_through(used.folder)
        changed = differences(job.facts.layout, now) if job.facts.layout != now else ""
    except InputError as error:
        changed = str(error)
    if not changed:
        return
    if not _has_whole_copy(used, job):
        raise RunFolderError(
            f"The images in '{used.folder}' are not those that '{folder.name}' began with: "
            f"{changed}. Bring the old ones back, or train anew: {_anew(folder)}"
        )
    listener.say(
        f"The images in '{used.folder.name}' have changed since the run began ({changed}). It goes "
        "on with the copy of those that it began with"
    )


def _has_whole_copy(used: UsedImages, job: KnownJob) -> bool:
    from traintime.data.image_cache import read_copy, read_facts

    if job.input.is_resident:
        return read_copy(used.key) is not None
    known = read_facts(used.key)
    return job.input.cache == "disk" and known is not None and known.array is not None


def _anew(folder: RunFolder) -> str:
    return f"traintime train '{folder.path / 'recipe.yaml'}'"


def _noted(folder: RunFolder) -> dict[str, Any]:
    """Return what data.json holds; where it is lost, damaged images are found again."""
    try:
        return folder.read_json(DATA)
    except RunFolderError:
        return {}


def _to_note(own: OwnImages) -> dict[str, Any]:
    return {
        "images": own.used,
        "left_out": dict(own.left_out),
        "replaced": dict(own.replaced),
    }


def _refuse_too_many(own: OwnImages, recipe: Recipe, folder: RunFolder) -> None:
    damaged = {**own.left_out, **own.replaced}
    most = most_damaged(recipe, own.used)
    if len(damaged) <= most:
        return
    enough = share_that_allows(len(damaged), own.used)
    raise InputError(
        f"{len(damaged):,} of {own.used:,} images in '{recipe.data}' cannot be read: "
        f"{_first_of(damaged)}. At most {most:,} may be (max_damaged={recipe.max_damaged:g}). Mend "
        f"or remove them ('{folder.path / f'{DATA}.json'}' lists all), or train without them: type "
        f"max_damaged={enough:g}"
    )


def stand_in(
    job: KnownJob, raw: RawImages | RawTable, folder: RunFolder, tell: Callable[[str, str], None]
) -> Callable[[int, str], int]:
    """Return what decides about images that can no longer be read while a run goes.

    As when it is resumed, another of their class and part stands in; they are noted and told of,
    and the run ends if they become too many.

    Args:
        job: What is trained.
        raw: Its images, which are not in memory.
        folder: Of the run.
        tell: Told of each, with kind and message.
    """
    import numpy as np

    from traintime.data.fetch import RawImages
    from traintime.data.image_store import ImageStore
    from traintime.data.own_images import OwnImages, filled

    assert isinstance(raw, RawImages)
    store, parts = raw.images, raw.parts
    assert isinstance(store, ImageStore)
    assert parts
    gone: list[int] = []

    def decide(row: int, why: str) -> int:
        gone.append(row)
        noted = _noted(folder)
        name = printable(store.names[row])
        replaced = {**noted.get("replaced", {}), name: why}
        own = OwnImages(raw, len(store.names), noted.get("left_out") or {}, replaced)
        folder.write_json(DATA, {**noted, **_to_note(own)})
        tell("damaged data", f"{name} cannot be read any more ({why}); another stands in for it")
        _refuse_too_many(own, job.recipe, folder)
        every = (part for part in (parts.train, parts.validation, parts.test) if part is not None)
        part = next(rows for rows in every if row in rows)
        return int(filled(part, np.array(gone), raw.labels)[part == row][0])

    return decide


def _told(own: OwnImages, *, begins: bool) -> list[str]:
    """Return what has to be said of damaged images, each only once in the life of a run."""
    told: list[str] = []
    if begins and own.left_out:
        told.append(
            f"{len(own.left_out):,} of {own.used:,} images cannot be read and "
            f"{_are(own.left_out)} left out: {_first_of(own.left_out)}"
        )
    if own.replaced:
        told.append(
            f"{len(own.replaced):,} of {own.used:,} images could be read when the run began and "
            f"cannot be now; others of their class stand in for them: {_first_of(own.replaced)}"
        )
    return told


def _are(damaged: Mapping[str, str]) -> str:
    return "is" if len(damaged) == 1 else "are"


def _first_of(damaged: Mapping[str, str]) -> str:
    return listed([f"{name} ({why})" for name, why in damaged.items()])


def with_first_scale(prepared: PreparedParts, folder: RunFolder) -> PreparedParts:
    """Return images with the mean and deviation that the run began with.

    An image that another stands in for since would change them, and with them every other image.
    """
    if not (folder.path / FILES).is_file():
        return prepared
    import torch

    noted = _noted(folder)
    if "mean" not in noted or "std" not in noted:
        scale = {"mean": prepared.mean.tolist(), "std": prepared.std.tolist()}
        folder.write_json(DATA, {**noted, **scale})
        return prepared
    return replace(prepared, mean=torch.tensor(noted["mean"]), std=torch.tensor(noted["std"]))
