"""What the ledger's finished runs say about a job of our trainer on this machine."""

from __future__ import annotations

from traintime import __version__
from traintime.errors import StorageError
from traintime.forecast.correction import Conditions, Pair
from traintime.hardware.execution import Execution
from traintime.hardware.profile import HardwareProfile
from traintime.ledger.paths import ledger_path
from traintime.recipe import Recipe


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
