"""A run on a table of one's own: what it was when it began, and that a resumed run has the same.

data.json         how many rows and columns it began with, and what of them was damaged
data-table.gz     the same, to go on with: names of features and classes, and checksums
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

from traintime.api.job import KnownJob
from traintime.api.listener import Listener
from traintime.data.catalogue import DataFacts
from traintime.data.table_facts import TableFacts
from traintime.errors import InputError, RunFolderError
from traintime.ledger.atomic import write_bytes_atomically
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe

if TYPE_CHECKING:
    from traintime.data.own_table import RawTable
    from traintime.data.table_cache import PreparedTable

DATA, TABLE = "data", "data-table.gz"


def note_table(folder: RunFolder, facts: DataFacts) -> None:
    """Keep in a run folder which table the run begins with."""
    assert facts.table
    values = facts.table.to_json()
    content = gzip.compress(json.dumps(values).encode(), mtime=0)
    write_bytes_atomically(folder.path / TABLE, content)
    folder.write_json(DATA, {"table": facts.title, **values})


def noted_table(folder: RunFolder, recipe: Recipe) -> DataFacts:
    """Return the facts of the table that a run began with.

    Raises:
        RunFolderError: What was kept of them is damaged.
    """
    from traintime.data.own_table import facts_of_prepared

    assert recipe.table
    try:
        values = json.loads(gzip.decompress((folder.path / TABLE).read_bytes()))
        facts = TableFacts.from_json(values)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"'{folder.path / TABLE}', which says what table the run began with, is damaged "
            f"({error}). {_anew(folder)}"
        ) from None
    return facts_of_prepared(recipe.table, facts)


def load_table(
    job: KnownJob, folder: RunFolder, listener: Listener, *, resume: bool = False
) -> RawTable:
    """Return the rows of a table for a run.

    Args:
        job: What is trained.
        folder: Of the run.
        listener: Told of everything that takes time or went wrong.
        resume: Whether the run has begun before.

    Raises:
        RunFolderError: The rows are others than those that the run began with.
        InputError: The table is gone or changed, and no copy could be kept of it.
    """
    from traintime.data.own_table import RawTable, damage_of, told_of
    from traintime.data.table_cache import read_table

    facts, path = job.facts.table, job.recipe.table
    assert facts
    assert path
    changed = _what_changed(job) if resume else ""
    kept = read_table(facts.key)
    if changed and kept:
        listener.say(
            f"The table '{path.name}' has changed since the run began ({changed}). It goes on with "
            "the copy of the rows that it began with"
        )
    kept = kept or _prepared_again(job, folder, listener, changed, resume=resume)
    if kept.facts.prepared_sha256 != facts.prepared_sha256:
        raise RunFolderError(_others(job, folder, "they are divided or encoded otherwise"))
    damage = tuple(damage_of(facts))
    for line in () if resume else (*told_of(path, facts), *damage):
        listener.say(line)
    return RawTable(kept, f"{facts.used:,} rows of '{path}'", () if resume else damage)


def _what_changed(job: KnownJob) -> str:
    """Say what became of the table since a run began; "" if it is as it was."""
    from traintime.data.table_file import sha256_of

    assert job.facts.table
    assert job.recipe.table
    if not job.recipe.table.is_file():
        return "it is not there any more"
    try:
        is_same = sha256_of(job.recipe.table) == job.facts.table.sha256
    except InputError as error:
        return str(error)
    return "" if is_same else "its content is another"


def _prepared_again(
    job: KnownJob, folder: RunFolder, listener: Listener, changed: str, *, resume: bool
) -> PreparedTable:
    """Return the rows of a table of which no whole copy is kept."""
    from traintime.data.own_table import prepared_table

    if changed:
        raise RunFolderError(_others(job, folder, changed))
    if resume:
        listener.say(f"No whole copy of '{job.facts.title}' is kept any more; reading it again")
    return prepared_table(job.recipe, listener.say)


def _others(job: KnownJob, folder: RunFolder, why: str) -> str:
    return (
        f"The rows of '{job.facts.name}' are not those that '{folder.name}' began with: {why}. "
        f"Bring the old ones back, or train anew: {_anew(folder)}"
    )


def _anew(folder: RunFolder) -> str:
    return f"traintime train '{folder.path / 'recipe.yaml'}'"
