"""What reading one's own data will take: images, before they are read.

Some are read to see: formats, sizes, disks and processors differ too much for a law. Where PIL is
not installed, a law has to do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from traintime.data.catalogue import DataFacts, split_sizes
from traintime.data.image_layout import Layout
from traintime.data.input_plan import IN_MEMORY, InputPlan
from traintime.recipe import Recipe
from traintime.units import format_bytes, format_duration

TRIED_IMAGES = 256
TRIED_S = 0.5
"""Seconds that trying may take; it ends with the image that it is at."""
IMAGE_S, FILE_BYTES_PER_S = 1e-4, 4e7
"""Of one core, for a file of so many bytes. Measured on 2026-11-20 with Pillow 13.0 on one core of
an AMD EPYC: JPEG of 64, 500 and 4,000 pixels 17, 36 and 103 MB/s, PNG of 64, 500 and 2,000 pixels
57, 50 and 55 MB/s, a PNG of 8 pixels 66 µs."""


@dataclass(frozen=True)
class Reading:
    """What reading images takes.

    Args:
        seconds: For all of them, and for trying some.
        said: What that stands on, for the assumptions of a forecast.
        image_s: Of one core, for one of them.
    """

    seconds: float
    said: str
    image_s: float = 0.0


def reading_time(recipe: Recipe, facts: DataFacts, plan: InputPlan = IN_MEMORY) -> Reading | None:
    """Return what reading one's own data will take; None for a known data set.

    A table has been read when this is asked: its training part says what a network is given.

    Args:
        recipe: Which of the images are used.
        facts: Of the data set.
        plan: Says whether their pixels are kept, or they are read again for each batch.

    Raises:
        InputError: More training samples, or larger batches, than there are.
    """
    if facts.table:
        return Reading(0.0, facts.table.said(facts.title))
    if facts.folder is None or facts.layout is None:
        return None
    if find_spec("PIL") is None or find_spec("numpy") is None:
        return _by_law(recipe, facts, facts.layout)
    from traintime.data.own_images import used_images

    used = used_images(recipe, facts)
    count = len(used.names)
    is_anew = plan.cache == "none"
    image_s = _one_by_one(used.paths, used.side) if is_anew else 0.0
    kept = "what is known of them" if is_anew else "a copy of them"
    if used.is_known if is_anew else used.is_kept:
        said = f"the {count:,} images were read before, and {kept} is kept"
        return Reading(0.0, said, image_s)
    trying_s, tried = _tried(used.paths, used.side)
    seconds = trying_s / tried * count
    return Reading(
        seconds + trying_s,
        f"reading {count:,} images the first time takes {format_duration(seconds)}, "
        f"as {tried:,} of them took; afterwards {kept} is kept",
        image_s,
    )


def _one_by_one(paths: Sequence[Path], side: int) -> float:
    """Return the seconds that one core takes for an image, as a worker reads them."""
    from traintime.data.read_image import UnreadableError, read_image

    began, done = perf_counter(), 0
    for path in paths[:: max(1, len(paths) // TRIED_IMAGES)]:
        with suppress(UnreadableError):
            read_image(path, side)
        done += 1
        if perf_counter() - began > TRIED_S:
            break
    return (perf_counter() - began) / done


def _tried(paths: Sequence[Path], side: int) -> tuple[float, int]:
    """Return the seconds that some images take, all cores together, and how many they are."""
    from traintime.data.read_image import read_images, usable_cores

    began, done = perf_counter(), 0
    batch = 4 * usable_cores()
    chosen = paths[:: max(1, len(paths) // TRIED_IMAGES)]
    while done < len(chosen) and perf_counter() - began < TRIED_S:
        done += len(read_images(chosen[done : done + batch], side).images)
    return perf_counter() - began, done


def _by_law(recipe: Recipe, facts: DataFacts, layout: Layout) -> Reading:
    sizes = split_sizes(facts, recipe)
    held_out = 0 if recipe.validate_on == "test" else sizes.validation
    count = sizes.train + held_out + sizes.test
    mean_bytes = sum(max(0, size) for size in layout.sizes) / len(layout.sizes)
    cores = os.cpu_count() or 1
    image_s = IMAGE_S + mean_bytes / FILE_BYTES_PER_S
    seconds = count * image_s / cores
    return Reading(
        seconds,
        f"assuming that a core reads {format_bytes(FILE_BYTES_PER_S)} of image files in a second: "
        f"{format_duration(seconds)} for {count:,} images the first time",
        image_s,
    )
