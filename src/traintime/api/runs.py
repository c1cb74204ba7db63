"""The runs verb: list, show, resume, delete, compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from traintime import __version__
from traintime.api.callbacks import Callback, checked_callbacks
from traintime.api.input_plan import with_input
from traintime.api.job import read_job
from traintime.api.listener import Listener
from traintime.api.machine import usable_device
from traintime.api.run_data import noted_facts
from traintime.api.run_records import is_paused
from traintime.api.train import TrainResult, require_torch, run_job, was_changed
from traintime.errors import InputError, RunFolderError, nearest
from traintime.forecast.forecast import Forecast
from traintime.hardware.machine import detect_machine
from traintime.ledger.database import Ledger, LedgerRow
from traintime.ledger.paths import ledger_path, runs_folder
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe, read_recipe
from traintime.units import format_percent

LATEST = "latest"
MOST_NAMES = 1000
"""Of the newest runs, that a name which is none of them is compared with."""


def list_runs(limit: int | None = None) -> list[LedgerRow]:
    """Return the runs in the ledger, the newest first.

    A run that says it is running, and whose process is gone, was interrupted.

    Args:
        limit: At most so many; None is all.

    Raises:
        InputError: The limit is no number of runs.
    """
    if limit is not None and not (isinstance(limit, int) and limit >= 0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"limit={limit!r} is no number of runs; type for example limit=50")
    return [_as_it_is(row) for row in Ledger(ledger_path()).rows(limit)]


def count_runs() -> int:
    """Return how many runs are in the ledger."""
    return Ledger(ledger_path()).count()


def _as_it_is(row: LedgerRow) -> LedgerRow:
    folder = RunFolder(Path(row.folder))
    if row.status == "running" or row.is_changed:
        row = _as_it_was_changed(row, folder)
    if row.status != "running" or folder.is_running:
        return row
    if not folder.is_finished:
        return dataclasses.replace(row, status="interrupted")
    result = folder.read_json("result")  # killed before it could tell the ledger
    step = result["step_time_s"]
    return dataclasses.replace(
        row,
        status=result["status"],
        total_s=result["total_s"],
        step_s=step["median"] if step else None,
        accuracy=result["test"]["accuracy"],
        is_changed=was_changed(folder),
    )


def _as_it_was_changed(row: LedgerRow, folder: RunFolder) -> LedgerRow:
    """Return a row with the target that holds now, and whether the run waits for a word."""
    with suppress(OSError):  # a folder that cannot be read is listed as the ledger has it
        changes = list(folder.records("changes", needed={"verb", "changes"}))
        return _with_changes(row, folder, changes)
    return row


def _with_changes(
    row: LedgerRow, folder: RunFolder, changes: Sequence[dict[str, Any]]
) -> LedgerRow:
    targets = [
        change["changes"]["target"][1] for change in changes if "target" in change["changes"]
    ]
    if targets:
        row = dataclasses.replace(row, target=targets[-1])
    if row.status == "running" and changes and folder.is_running:
        with suppress(RunFolderError):
            paused = is_paused(changes, folder.read_json("process"))
            row = dataclasses.replace(row, status="paused" if paused else row.status)
    return row


def find_run(name: str) -> RunFolder:
    """Return the folder of a run.

    Args:
        name: Its name, its path, or "latest".

    Raises:
        RunFolderError: There is no such run, or its folder is gone.
    """
    if not isinstance(name, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RunFolderError(
            f"A run has a name, a path or is 'latest', and {name!r} is none; "
            "`traintime runs list` shows all"
        )
    ledger, name = Ledger(ledger_path()), str(name)
    if name == LATEST:
        newest = ledger.rows(1)
        if not newest:
            raise RunFolderError("There is no run yet; make one with: traintime demo")
        return _open_known(newest[0])
    for path in (Path(name), runs_folder() / name):
        if path.is_dir():
            return RunFolder.open(path.resolve())  # '.' has no name
    row = ledger.row(name)
    if row:
        return _open_known(row)
    near = nearest(name, ledger.names(MOST_NAMES))
    hint = f"Did you mean '{near}'? " if near else ""
    raise RunFolderError(
        f"There is no run named '{name}'. {hint}`traintime runs list` shows those there are"
    )


def _open_known(row: LedgerRow) -> RunFolder:
    path = Path(row.folder)
    if not path.is_dir():
        raise RunFolderError(
            f"The folder of '{row.name}' is gone: '{path}'. If it was moved, type its new path in "
            f"place of the name; else forget the run with: traintime runs delete {row.name}"
        )
    return RunFolder.open(path)


def show_run(name: str) -> dict[str, Any]:
    """Return all that is known of a run.

    Recipe, environment, forecast, epochs, what it was told and what it survived, and its result.
    """
    folder = find_run(name)
    known: dict[str, Any] = {"run": folder.name, "folder": str(folder.path)}
    known["recipe"] = folder.read_recipe()
    for part in ("environment", "forecast", "result"):
        if (folder.path / f"{part}.json").is_file():
            known[part] = folder.read_json(part)
    for records in ("epochs", "changes", "events"):
        known[records] = list(folder.records(records))
    return known


def resume(
    name: str, *, listener: Listener | None = None, callbacks: Sequence[Callback] = ()
) -> TrainResult:
    """Go on with a run that was stopped or killed, exactly where its last checkpoint was.

    Args:
        name: Its name, its path, or "latest".
        listener: Told of every stage.
        callbacks: Your own code, as for `train`.

    Raises:
        RunFolderError: There is no such run, it is finished, its folder cannot be used, or it ran
            on a device that this machine does not have.
    """
    callbacks = checked_callbacks(callbacks)
    folder = find_run(name)
    if folder.is_finished:
        accuracy = folder.read_json("result")["test"]["accuracy"]
        longer = "budget=..." if folder.read_recipe().get("budget") else "epochs=..."
        raise RunFolderError(
            f"The run '{folder.name}' is finished ({format_percent(accuracy)} on the test set); "
            "there is nothing to go on with. To train longer, start anew with: "
            f"traintime train '{folder.path / 'recipe.yaml'}' {longer}"
        )
    require_torch()
    began_at = perf_counter()
    listener = listener or Listener()
    if not folder.is_running:  # else it is refused further on
        folder.mend(listener.say)
    recipe = read_recipe(**folder.read_recipe())
    job = read_job(recipe, {}, noted_facts(folder, recipe))
    forecast = Forecast.from_json(folder.read_json("forecast"))
    refuse_another_device(forecast.execution.device, folder, "Resume")
    job = with_input(job, forecast.execution.device, resumed=True)
    row = _row_of(folder, job.recipe, forecast)
    _say_version(folder, listener)
    return run_job(job, forecast, folder, row, listener, began_at, callbacks)


def refuse_another_device(device: str, folder: RunFolder, verb: str) -> None:
    """Refuse a run that was made on a device that this machine does not have.

    Args:
        device: "cpu" or "cuda:N".
        folder: Of the run.
        verb: What was to be done with it, such as "Resume".

    Raises:
        RunFolderError: It was.
    """
    try:
        usable_device(device, detect_machine(folder.path))
    except InputError:
        raise RunFolderError(
            f"The run '{folder.name}' was made on {device}, which this machine does not have. "
            f"{verb} it where that is, or train it anew here: "
            f"traintime train '{folder.path / 'recipe.yaml'}' device=auto"
        ) from None


def _say_version(folder: RunFolder, listener: Listener) -> None:
    written = folder.read_json("format").get("traintime")
    if written != __version__:
        listener.say(f"The run was begun by traintime {written}; {__version__} goes on with it")


def _row_of(folder: RunFolder, recipe: Recipe, forecast: Forecast) -> LedgerRow:
    """Return the ledger's row of a run, wherever its folder is now."""
    row = Ledger(ledger_path()).row(folder.name)
    if row:
        return dataclasses.replace(row, folder=str(folder.path.resolve()))
    return LedgerRow(
        name=folder.name,
        folder=str(folder.path.resolve()),
        began=_began(folder),
        status="running",
        data=recipe.data,
        model=recipe.model,
        target=recipe.target,
        machine="",
        evidence=forecast.evidence,
        forecast_s=forecast.total_s.median,
        forecast_low_s=forecast.total_s.low,
        forecast_high_s=forecast.total_s.high,
        forecast_step_s=forecast.step_time_s.median,
    )


def _began(folder: RunFolder) -> str:
    """Return when a run of another ledger began, in local time; "" if that is not known."""
    try:
        started_at = datetime.fromisoformat(folder.read_json("environment")["started_at"])
    except (RunFolderError, KeyError, TypeError, ValueError):
        return ""
    return started_at.astimezone().replace(tzinfo=None).isoformat(timespec="seconds")


def delete_run(name: str) -> str:
    """Remove a run's folder and forget it; return its name.

    Raises:
        RunFolderError: There is no such run, or it is being trained.
    """
    gone = _row_without_folder(name)
    if gone:
        Ledger(ledger_path()).delete(gone.name)
        return gone.name
    folder = find_run(name)
    if folder.is_running:
        raise RunFolderError(
            f"The run '{folder.name}' is being trained. Stop it first, with: "
            f"traintime runs stop {folder.name}"
        )
    folder.delete()
    if _row_without_folder(folder.name):  # else the ledger knows another one of this name
        Ledger(ledger_path()).delete(folder.name)
    return folder.name


def folder_to_delete(name: str) -> RunFolder | None:
    """Return what `delete_run` would remove; None if only the ledger still knows the run.

    Raises:
        RunFolderError: There is no such run.
    """
    return None if _row_without_folder(name) else find_run(name)


def _row_without_folder(name: str) -> LedgerRow | None:
    ledger = Ledger(ledger_path())
    row = next(iter(ledger.rows(1)), None) if name == LATEST else ledger.row(name)
    return row if row and not Path(row.folder).is_dir() else None


def compare_runs(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return runs side by side: what differs in their recipes, and how they ended.

    Args:
        names: Two runs or more.

    Raises:
        InputError: Fewer than two runs.
    """
    if isinstance(names, str) or len(list(names or ())) < 2:
        raise InputError(
            "Comparing needs two runs or more; type: traintime runs compare RUN RUN "
            "(`traintime runs list` shows them)"
        )
    shown = [show_run(name) for name in names]
    recipes = [run["recipe"] for run in shown]
    differing = [
        field for field in recipes[0] if any(r.get(field) != recipes[0][field] for r in recipes)
    ]
    return [_side(run, differing) for run in shown]


def _side(run: dict[str, Any], differing: Sequence[str]) -> dict[str, Any]:
    result = run.get("result", {})
    return {
        "run": run["run"],
        **{field: run["recipe"].get(field) for field in differing},
        "status": result.get("status", "not finished"),
        "forecast_s": run["forecast"]["total_s"]["median"] if "forecast" in run else None,
        "total_s": result.get("total_s"),
        "time_to_target_s": result.get("time_to_target_s"),
        "accuracy": result.get("test", {}).get("accuracy"),
    }
