"""The images of one's own that could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from traintime.report.page.run_files import RunFiles, section


@dataclass(frozen=True)
class DamagedImages:
    """Images that something was done about.

    Args:
        summary: How many of how many, and what was done.
        files: Name and reason of each.
    """

    summary: str
    files: list[tuple[str, str]]


DONE = {
    "left_out": "could not be read and {were} left out",
    "replaced": "could no longer be read; {other} of the class stood in",
}


def damaged_images(run: RunFiles) -> list[DamagedImages]:
    """Return what was done about the images that could not be read; nothing if all could."""
    return list(_damaged(run))


def _damaged(run: RunFiles) -> Iterator[DamagedImages]:
    total = int(run.data.get("images") or 0)
    for key, done in DONE.items():
        files = [(str(name), str(why)) for name, why in section(run.data, key).items()]
        if files:
            one = len(files) == 1
            what = done.format(were="was" if one else "were", other="another" if one else "others")
            yield DamagedImages(f"{len(files):,} of {total:,} images {what}", files)
