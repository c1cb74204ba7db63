"""What a run learns from: a known data set, images of a folder, or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traintime.api.job import KnownJob
from traintime.api.listener import Listener
from traintime.api.own_images import load_images, note_images, noted_images
from traintime.api.own_table import load_table, note_table, noted_table
from traintime.data.catalogue import DataFacts
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe

if TYPE_CHECKING:
    from traintime.data.fetch import RawImages
    from traintime.data.own_table import RawTable


def note_data(folder: RunFolder, facts: DataFacts) -> None:
    """Keep in a run folder what of one's own the run begins with."""
    if facts.layout:
        note_images(folder, facts)
    if facts.table:
        note_table(folder, facts)


def noted_facts(folder: RunFolder, recipe: Recipe) -> DataFacts | None:
    """Return the facts of one's own data that a run began with; None for a known data set.

    Raises:
        RunFolderError: What was kept of them is damaged.
    """
    return noted_table(folder, recipe) if recipe.table else noted_images(folder, recipe)


def load_data(
    job: KnownJob, folder: RunFolder, listener: Listener, *, resume: bool = False
) -> RawImages | RawTable:
    """Return the data set of a run.

    Args:
        job: What is trained.
        folder: Of the run; takes note of one's own data that are damaged.
        listener: Told of everything that takes time or went wrong.
        resume: Whether data of one's own have to be those that the run began with.

    Raises:
        InputError: More images cannot be read than the recipe allows.
        RunFolderError: The data are others than those that the run began with.
        DataUnavailableError: No source of a known data set gave the true content.
        StorageError: The disk refused.
    """
    if job.facts.table:
        return load_table(job, folder, listener, resume=resume)
    if job.facts.folder:
        return load_images(job, folder, listener, resume=resume)
    from traintime.data.fetch import load_raw

    return load_raw(job.facts.name, listener.say)
