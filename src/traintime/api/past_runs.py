"""What the ledger's finished runs say about a job of our trainer: how fast, and how it learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from traintime import __version__
from traintime.errors import StorageError, TraintimeError
from traintime.forecast.correction import Conditions, Pair
from traintime.forecast.earlier_runs import EarlierRun
from traintime.hardware.execution import Execution
from traintime.hardware.profile import HardwareProfile
from traintime.ledger.paths import ledger_path
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe, read_recipe
from traintime.recipe.steering import learns_alike

if TYPE_CHECKING:
    from traintime.ledger.database import LedgerRow

MOST_EARLIER, LOOKED_AT = 10, 30
"""Runs of the very recipe that are learned from, of so many like it whose folders are read."""


def conditions(
    recipe: Recipe, execution: Execution, parameters: int, profile: HardwareProfile
) -> Conditions:
    """Return what a job's step is forecast under, as the ledger keeps it.

    Args:
        recipe: What is trained.
        execution: How.
        parameters: Of the network.
        profile: What its forecast stands on. After another measurement of the machine earlier
            forecasts stood on something else, so its digest is part of the software.
    """
    torch = profile.software.get("torch")
    return Conditions(
        machine=profile.machine.key,
        device=execution.device,
        software=f"traintime {__version__}, torch {torch}, rates {profile.digest}",
        model=recipe.model,
        data=recipe.data,
        execution=str(execution),
        batch_size=recipe.batch_size,
        parameters=parameters,
    )


def finished_pairs(job: Conditions) -> list[Pair]:
    """Return forecast and fact of the finished runs in a job's place.

    A ledger that cannot be read says nothing: a forecast is not to fail for it.
    """
    from traintime.ledger.database import Ledger  # SQLite takes milliseconds to import

    try:
        rows = Ledger(ledger_path()).finished(job.machine, job.device, job.software)
    except StorageError:
        return []
    return [
        Pair(
            Conditions(
                machine=row.machine,
                device=row.device or "",
                software=row.software or "",
                model=row.model,
                data=row.data,
                execution=row.execution or "",
                batch_size=row.batch_size or 0,
                parameters=row.parameters or 0,
            ),
            row.uncorrected_step_s or 0.0,
            row.step_s or 0.0,
            row.began,
        )
        for row in rows
    ]


def earlier_runs(recipe: Recipe, fingerprint: str | None, under: Conditions) -> list[EarlierRun]:
    """Return the finished runs of a recipe, seeds and ends aside, the newest first.

    Args:
        recipe: That will be run.
        fingerprint: Of data of one's own: other data under the same name teach something else.
        under: What it will run under.
    """
    from traintime.ledger.database import Ledger

    if recipe.budget:
        return []
    try:
        ledger = Ledger(ledger_path())
        rows = ledger.ended(under.data, under.model, under.batch_size, LOOKED_AT)
    except StorageError:
        return []
    alike = _alike(rows, recipe, fingerprint, under)
    return list(islice(alike, MOST_EARLIER))


def _alike(
    rows: list[LedgerRow], recipe: Recipe, fingerprint: str | None, under: Conditions
) -> Iterator[EarlierRun]:
    metric = recipe.goal.metric if recipe.goal else recipe.monitor
    for row in rows:
        with suppress(TraintimeError, KeyError, TypeError, ValueError):  # a folder that is damaged
            folder = RunFolder.open(Path(row.folder))
            of_run = read_recipe(**folder.read_recipe())
            records = list(folder.records("epochs"))
            values = tuple(float(record[f"validation_{metric}"]) for record in records)
            is_of_this = learns_alike(of_run, recipe) and _fingerprint(folder) == fingerprint
            if values and is_of_this:
                is_same = of_run.seed == recipe.seed and _computes_alike(row, under)
                yield EarlierRun(row.name, values, is_same)


def _fingerprint(folder: RunFolder) -> str | None:
    if not (folder.path / "data.json").is_file():
        return None
    noted = folder.read_json("data")
    return noted.get("fingerprint") or noted.get("sha256")


def _computes_alike(row: LedgerRow, under: Conditions) -> bool:
    """Say whether a run's bits would come out again: on a processor, with the same software."""
    rates = ", rates "
    software = (row.software or "").partition(rates)[0], under.software.partition(rates)[0]
    ours = (under.machine, under.device, under.execution)
    same = (row.machine, row.device, row.execution) == ours and software[0] == software[1]
    return same and under.device == "cpu"
