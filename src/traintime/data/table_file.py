"""The rows of a table as they stand in its file, with those that are no rows.

A text file is taken apart line by line and not by a parser of whole files: one line that is broken
must not take others with it, and is named by its number. This module imports no numpy.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from traintime.data.image_layout import listed
from traintime.errors import InputError, nearest
from traintime.recipe.data_folder import TABLE_ENDINGS

DELIMITERS = (",", ";", "\t", "|")
TRIED_LINES = 50
MOST_LINES = 1000
"""That one cell in quotation marks may span."""
QUOTE = '"'
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
NO_TEXT, LOOKED_THROUGH, MOST_OF_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]"), 4096, 0.01


@dataclass(frozen=True)
class TableFile:
    """What stands in a file.

    Args:
        header: Names of the columns.
        rows: Cells of each row, stripped; "" where there is nothing.
        numbers: Of each row: its line in a text file, else its place, from 1.
        broken: What is no row, by number, and why.
        unit: What is numbered: "line" or "row".
        decimal_comma: Whether 3,5 may be a number.
        notes: What is not plain to see of how the file was understood.
    """

    header: tuple[str, ...]
    rows: list[list[str]]
    numbers: list[int]
    broken: dict[int, str]
    unit: str
    decimal_comma: bool = False
    notes: tuple[str, ...] = ()


def check_is_there(path: Path) -> None:
    """Refuse a table that is not there, with the nearest name that is.

    Raises:
        InputError: It is not.
    """
    if path.is_file():
        return
    here = path.parent.iterdir() if path.parent.is_dir() else ()
    names = [file.name for file in here if file.name.lower().endswith(TABLE_ENDINGS)]
    near = nearest(path.name, names)
    hint = f"Did you mean '{path.parent / near}'?" if near else "Check the path with: ls"
    raise InputError(f"There is no table '{path}'. {hint}")


def read_bytes(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        InputError: It is not there, or cannot be read.
    """
    check_is_there(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read ({error.strerror}). Check with: ls -l '{path}'"
        ) from None


def sha256_of(path: Path) -> str:
    """Return the checksum of a file.

    Raises:
        InputError: It is not there, or cannot be read.
    """
    check_is_there(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read ({error.strerror}). Check with: ls -l '{path}'"
        ) from None


def parse_table(path: Path, content: bytes) -> TableFile:
    """Return the rows of a table.

    Args:
        path: Whose ending says what it is.
        content: Of the file.

    Raises:
        InputError: It is no table.
        MissingExtraError: It is a Parquet file, and what reads them is not installed.
    """
    if path.suffix.lower() == ".parquet":
        from traintime.data.parquet_file import parse_parquet

        table = parse_parquet(path, content)
    else:
        table = _parse_text(path, content)
    _refuse_same_names(path, table.header)
    if not table.rows:
        raise InputError(
            f"'{path}' holds no row{' that can be read' if table.broken else ''}. Expected is a "
            "line of names, and a line for each sample below"
        )
    return table


def _refuse_same_names(path: Path, header: Sequence[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InputError(
            f"'{path}' has more than one column named {listed(twice)}. Give each a name of its own "
            "in the first line"
        )


def _parse_text(path: Path, content: bytes) -> TableFile:
    text, notes = _decoded(path, content)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise InputError(f"'{path}' is empty. Expected is a line of names, and rows below")
    delimiter = _delimiter(lines[first : first + TRIED_LINES])
    header, start = _header(lines, first, delimiter)
    notes = (*notes, *_doubts(path, header))
    _refuse_other_widths(path, header, lines[start : start + TRIED_LINES], delimiter)
    rows: list[list[str]] = []
    numbers: list[int] = []
    broken: dict[int, str] = {}
    for at, cells in _records(lines, start, delimiter, len(header)):
        if isinstance(cells, str):
            broken[at + 1] = cells
        else:
            rows.append([cell.strip() for cell in cells])
            numbers.append(at + 1)
    return TableFile(header, rows, numbers, broken, "line", delimiter != ",", notes)


def _decoded(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    if content.startswith(UTF16_MARKS):
        return content.decode("utf-16", errors="replace"), ()
    looked_through = content[:LOOKED_THROUGH]
    # A few are damage, of cells that will be named.
    if len(NO_TEXT.findall(looked_through)) > MOST_OF_NO_TEXT * len(looked_through):
        raise InputError(
            f"'{path}' is no text, whatever its name says. Expected is a file of lines whose cells "
            "are separated by commas, semicolons or tabs"
        )
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        note = f"'{path.name}' is not in UTF-8 and is read as Windows-1252"
        return content.decode("cp1252", errors="replace"), (note,)


def _delimiter(lines: Sequence[str]) -> str:
    """Return what separates the cells: what gives most lines as many as the first one has."""

    def fit(delimiter: str) -> tuple[int, int]:
        widths = [len(_plain_cells(line, delimiter)) for line in lines if line.strip()]
        return (sum(w == widths[0] for w in widths) if widths[0] > 1 else 0), widths[0]

    return max(DELIMITERS, key=fit)


def _header(lines: Sequence[str], first: int, delimiter: str) -> tuple[tuple[str, ...], int]:
    """Return the names of the columns, and where the rows begin."""
    cells, taken = _plain_cells(lines[first], delimiter), 1
    if lines[first].count(QUOTE) % 2:
        joined = _joined(lines, first, delimiter, width=0)
        cells, taken = joined or (cells, taken)
    names = [" ".join(cell.split()) for cell in cells]
    # The names of an index, as pandas and R write it, are left empty.
    return tuple(name or f"column {i + 1}" for i, name in enumerate(names)), first + taken


def _refuse_other_widths(
    path: Path, header: Sequence[str], lines: Sequence[str], delimiter: str
) -> None:
    """Refuse names that most rows do not fit to: then it is their line that is wrong."""
    widths = Counter(len(_plain_cells(line, delimiter)) for line in lines if line.strip())
    width, count = widths.most_common(1)[0] if widths else (len(header), 0)
    if width != len(header) and count > 2 and count > widths.total() / 2:
        raise InputError(
            f"The first line of '{path}' names {len(header):,} columns, and most lines have "
            f"{width:,} fields: {listed(list(header))}. Mend the line of names"
        )


def _doubts(path: Path, header: Sequence[str]) -> Iterator[str]:
    if sum(name.strip("-").replace(".", "", 1).isdigit() for name in header) > len(header) / 2:
        yield (
            f"The first line of '{path.name}' is taken for the names of its columns, and looks "
            "like a row. Put a line of names above it"
        )


def _records(
    lines: Sequence[str], start: int, delimiter: str, width: int
) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the place of each row's first line with its cells, or with why it has none."""
    at = start
    while at < len(lines):
        line, taken = lines[at], 1
        if QUOTE not in line:
            cells = line.split(delimiter)
        elif line.count(QUOTE) % 2:
            joined = _joined(lines, at, delimiter, width)
            cells, taken = joined or (_with_lone_mark(line, delimiter, width), 1)
        else:
            cells = _plain_cells(line, delimiter)
        if isinstance(cells, str) or len(cells) == width:
            yield at, cells
        elif line.strip():
            yield at, f"has {len(cells):,} field{'s' * (len(cells) != 1)}, not {width:,}"
        at += taken


def _plain_cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [""])
    except csv.Error:
        return line.split(delimiter)


def _joined(
    lines: Sequence[str], at: int, delimiter: str, width: int
) -> tuple[list[str], int] | None:
    """Return the cells of a row of several lines, and how many those are; None if it is none.

    Args:
        lines: Of the file.
        at: The first of the row, with an odd number of quotation marks.
        delimiter: Between cells.
        width: Cells that a row has; 0 if that is not known.
    """
    marks = 0
    for taken, line in enumerate(lines[at : at + MOST_LINES], 1):
        marks += line.count(QUOTE)
        if taken == 1 or marks % 2:
            continue
        text = "\n".join(lines[at : at + taken])
        try:
            parsed = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
        except csv.Error:
            return None
        is_one = len(parsed) == 1 and len(parsed[0]) in (width, width or len(parsed[0]))
        return (parsed[0], taken) if is_one else None
    return None


def _with_lone_mark(line: str, delimiter: str, width: int) -> list[str] | str:
    """Return the cells of a line whose quotation mark is a letter as others: 3.5" wide."""
    cells = line.split(delimiter)
    if len(cells) == width and not any(cell.lstrip().startswith(QUOTE) for cell in cells):
        return cells
    return "has a quotation mark that is not closed"
