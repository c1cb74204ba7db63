"""A table of one's own as a data set: read, divided, encoded, kept.

How many features a network has is known once the training part is: its values are the features. So
a table is read before its forecast, and what is prepared then is what a run is given.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from traintime.data.catalogue import DataFacts, facts_of_table, split_sizes
from traintime.data.damage_bound import most_damaged, share_that_allows
from traintime.data.draw import PartRows, divide, with_every_class
from traintime.data.fetch import Say
from traintime.data.image_layout import listed
from traintime.data.table_cache import PreparedTable, ShownRow, keep_table, read_table, with_digest
from traintime.data.table_columns import Column
from traintime.data.table_encoding import Encoded, encode, stacked
from traintime.data.table_facts import TableFacts
from traintime.data.table_file import TableFile, parse_table, read_bytes
from traintime.data.table_rows import UsableTable, usable_rows
from traintime.errors import InputError, StorageError
from traintime.recipe import Recipe
from traintime.units import format_bytes

VERSION = 1
"""Of how tables are read and encoded; another one makes other copies."""
SHOWN_COLUMNS = 6
"""Of a row that was taken for another class."""
READING_BYTES = {".parquet": 21}
TEXT_BYTES = 14
"""Of memory for each byte of a file. Measured on 2026-11-30 with 284,807 rows of 31 numbers: 1.1 GB
for 80 MB of CSV, and for 54 MB of Parquet; words that repeat are smaller in Parquet."""
SAID_FROM_BYTES = 20 * 2**20


@dataclass(frozen=True)
class RawTable:
    """A table as a run is given it.

    Args:
        table: Its rows, prepared.
        source: Where they came from, for the record of a run.
        damage: What has to be kept in mind of damaged rows, in sentences.
    """

    table: PreparedTable
    source: str
    damage: tuple[str, ...] = ()


def prepared_table(recipe: Recipe, say: Say, room_bytes: float = math.inf) -> PreparedTable:
    """Return the rows of a recipe's table, ready for a network; a copy is kept.

    Args:
        recipe: Names table and label, and says how it is divided.
        say: Is told, in single lines, of everything that takes time or went wrong.
        room_bytes: Memory that reading it may take.

    Raises:
        InputError: It is no table that classes could be told apart by, too much of it is damaged,
            or it is too large.
        MissingExtraError: What reads it is not installed.
    """
    path = recipe.table
    assert path
    content = read_bytes(path)
    sha256 = hashlib.sha256(content).hexdigest()
    key = _key(recipe, sha256)
    kept = read_table(key)
    if kept is None:
        _refuse_too_large(path, len(content), room_bytes)
        if len(content) > SAID_FROM_BYTES:
            say(f"Reading '{path.name}', {format_bytes(len(content))}, the first time")
        kept = _prepared(recipe, path, parse_table(path, content), sha256, key)
        try:
            keep_table(kept, path)
        except StorageError as error:
            say(f"The table as it was prepared is not kept: {error}")
    _refuse_too_much_damage(path, kept.facts, recipe)
    return kept


def _refuse_too_large(path: Path, size: int, room_bytes: float) -> None:
    needed = size * READING_BYTES.get(path.suffix.lower(), TEXT_BYTES)
    if needed > room_bytes:
        raise InputError(
            f"Reading '{path}', {format_bytes(size)}, takes about {format_bytes(needed)} of "
            f"memory, and {format_bytes(room_bytes)} are left. Type data= of a file with fewer "
            "rows, or with the columns alone that matter"
        )


def _key(recipe: Recipe, sha256: str) -> str:
    drawn_by = (recipe.seed, recipe.split, recipe.validate_on, recipe.train_samples)
    name = recipe.table.name if recipe.table else ""  # messages say it
    what = (VERSION, name, sha256, recipe.label, *drawn_by)
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _prepared(recipe: Recipe, path: Path, file: TableFile, sha256: str, key: str) -> PreparedTable:
    table = usable_rows(path, file, recipe.label)
    rows = len(file.rows) + len(file.broken)
    parts = _divided(recipe, path, table)
    encoded = {column.name: encode(column, parts.train) for column in table.columns}
    left_out = {name: each.left_out for name, each in encoded.items() if each.left_out}
    _refuse_no_features(path, recipe, encoded, left_out)
    facts = TableFacts(
        label=recipe.label or "",
        sha256=sha256,
        key=key,
        prepared_sha256="",
        rows=rows,
        used=len(table.labels),
        classes=table.classes,
        features=tuple(name for each in encoded.values() for name in each.names),
        skipped=table.skipped,
        repeats=table.repeats,
        left_out=left_out,
        repaired={name: each.repaired for name, each in encoded.items() if each.repaired},
        notes=table.notes,
    )
    shown = [column for column in table.columns if column.name not in left_out][:SHOWN_COLUMNS]
    return with_digest(
        PreparedTable(
            facts,
            stacked(list(encoded.values())),
            table.labels,
            parts,
            tuple(_shown(table, shown, file.unit, row) for row in parts.test),
        )
    )


def _divided(recipe: Recipe, path: Path, table: UsableTable) -> PartRows:
    count = len(table.labels)
    sizes = split_sizes(facts_of_table(path, table.classes, count, num_features=1), recipe)
    parts = divide(table.labels, recipe, sizes, np.arange(count))
    return with_every_class(parts, table.labels)


def _shown(table: UsableTable, columns: list[Column], unit: str, row: np.int64) -> ShownRow:
    cells = {column.name: column.cells[row] for column in columns}
    return ShownRow(f"{unit} {table.numbers[row]}", cells)


def _refuse_no_features(
    path: Path, recipe: Recipe, encoded: dict[str, Encoded], left_out: dict[str, str]
) -> None:
    if len(left_out) < len(encoded):
        return
    why = listed([f"{name} {reason}" for name, reason in left_out.items()])
    raise InputError(
        f"No column of '{path.name}' tells the classes of {recipe.label} apart: {why}. Expected is "
        "a column of numbers, or of values that several rows share"
    )


def _refuse_too_much_damage(path: Path, facts: TableFacts, recipe: Recipe) -> None:
    skipped, most = facts.skipped, most_damaged(recipe, facts.rows)
    if len(skipped) <= most:
        return
    raise InputError(
        f"{len(skipped):,} of {facts.rows:,} rows of '{path}' cannot be used: {_first_of(facts)}. "
        f"At most {most:,} may be (max_damaged={recipe.max_damaged:g}). Mend or remove them, or "
        f"train without them: type max_damaged={share_that_allows(len(skipped), facts.rows):g}"
    )


def _first_of(facts: TableFacts) -> str:
    return listed([f"{name} ({why})" for name, why in facts.skipped.items()])


def facts_of_prepared(path: Path, facts: TableFacts) -> DataFacts:
    """Return the facts of a table as those of a data set."""
    return facts_of_table(path, facts.classes, facts.used, num_features=facts.width, table=facts)


def told_of(path: Path, facts: TableFacts) -> Iterator[str]:
    """Yield what has to be said of a table once, when a run begins."""
    yield from facts.notes
    if facts.left_out:
        left_out = listed([f"{name} ({why})" for name, why in facts.left_out.items()])
        yield f"Columns of '{path.name}' that are left out: {left_out}"
    if facts.repeats:
        yield (
            f"{facts.repeats:,} of {facts.rows:,} rows repeat another one and "
            f"{_are(facts.repeats)} left out, as what is trained on must not be tested on"
        )


def damage_of(facts: TableFacts) -> Iterator[str]:
    """Yield what has to be kept in mind of damaged rows and cells."""
    if facts.skipped:
        yield (
            f"{len(facts.skipped):,} of {facts.rows:,} rows cannot be used and "
            f"{_are(len(facts.skipped))} left out: {_first_of(facts)}"
        )
    if facts.repaired:
        repaired = listed([f"{name} ({what})" for name, what in facts.repaired.items()])
        yield f"Cells that hold nothing to go by, and what stands in for them: {repaired}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
