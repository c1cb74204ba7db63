"""What was done about data of one's own that could not be used as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from traintime.report.page.run_files import RunFiles, section


@dataclass(frozen=True)
class Handled:
    """Images, rows, cells or columns that something was done about.

    Args:
        summary: How many of how many, and what was done.
        each: Name of each, and why or what.
    """

    summary: str
    each: list[tuple[str, str]]


DONE_WITH_IMAGES = {
    "left_out": "could not be read and {were} left out",
    "replaced": "could no longer be read; {other} of the class stood in",
}


def own_data(run: RunFiles) -> list[Handled]:
    """Return what was done about one's own data; nothing if all could be used."""
    return list(_table(run) if run.data.get("table") else _images(run))


def _images(run: RunFiles) -> Iterator[Handled]:
    total = int(run.data.get("images") or 0)
    for key, done in DONE_WITH_IMAGES.items():
        files = _pairs(run, key)
        if files:
            one = len(files) == 1
            what = done.format(were="was" if one else "were", other="another" if one else "others")
            yield Handled(f"{len(files):,} of {total:,} images {what}", files)


def _table(run: RunFiles) -> Iterator[Handled]:
    total, repeats = (int(run.data.get(key) or 0) for key in ("rows", "repeats"))
    skipped, left_out, repaired = (_pairs(run, key) for key in ("skipped", "left_out", "repaired"))
    if skipped:
        were = "was" if len(skipped) == 1 else "were"
        what = f"{len(skipped):,} of {total:,} rows could not be used and {were} left out"
        yield Handled(what, skipped)
    if repeats:
        yield Handled(f"{repeats:,} of {total:,} rows repeat another one and were left out", [])
    if repaired:
        columns = "column" if len(repaired) == 1 else "columns"
        yield Handled(
            f"Cells of {len(repaired):,} {columns} that something stands in for", repaired
        )
    if left_out:
        columns = "column was" if len(left_out) == 1 else "columns were"
        yield Handled(f"{len(left_out):,} {columns} left out", left_out)


def _pairs(run: RunFiles, key: str) -> list[tuple[str, str]]:
    return [(str(name), str(what)) for name, what in section(run.data, key).items()]
