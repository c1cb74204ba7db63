"""The watch verb: what a run does at this moment, from its folder alone.

Nothing is asked of the process that trains, so it may be on another machine that shares the folder.
"""

from __future__ import annotations

import dataclasses
import math
import platform
import time
from collections.abc import Iterable

from traintime.api.run_records import RunRecords, is_paused
from traintime.api.runs import LATEST, find_run
from traintime.api.steer import present_recipe
from traintime.clock.run_state import AT_WORK, Record, RunState, Status
from traintime.clock.warnings import warnings_of
from traintime.errors import InputError, RunFolderError
from traintime.ledger.database import Ledger
from traintime.ledger.paths import ledger_path
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe

YOUNG_S = 30.0
"""A folder that was made so short a time ago may wait for its process to claim it."""
PENDING_S = 0.3
"""What takes less than that is not worth a word."""
ALIVE_S = 2.0
"""So often it is looked whether the process is still there; on a shared disk that costs a file."""
ENDED: dict[str, Status] = {"stopped": "stopped", "diverged": "diverged", "failed": "failed"}


def watch_run(name: str = LATEST) -> RunState:
    """Return what a run does at this moment, or how it ended.

    Args:
        name: Its name, its path, or "latest".

    Raises:
        RunFolderError: There is no such run, or its folder cannot be used.
    """
    return RunWatcher(find_run(name)).look()


class RunWatcher:
    """Looks at a run again and again; each look reads only what is new.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._records = RunRecords(folder.path)
        self._forecast = _read_if_there(folder, "forecast")
        self._environment = _read_if_there(folder, "environment")
        self._recipe = _recipe(folder, self._forecast)
        self._known_changes = 0
        self._spoke_at: float | None = None
        self._is_alive, self._alive_at = False, -math.inf

    def look(self) -> RunState:
        """Return the run as it is now.

        Raises:
            RunFolderError: The folder is gone, or damaged.
        """
        if not (self.folder.path / "format.json").is_file():
            raise RunFolderError(
                f"The run '{self.folder.name}' is gone: its folder '{self.folder.path}' was "
                "deleted. `traintime runs list` shows those there are"
            )
        process = _read_if_there(self.folder, "process")
        spoke = self._records.read()
        if len(self._records.changes) != self._known_changes:
            self._known_changes = len(self._records.changes)
            self._recipe = _recipe(self.folder, self._forecast)
        state = self._described(process, self._silent_s(spoke))
        return dataclasses.replace(state, warnings=warnings_of(state))

    def _described(self, process: Record, silent_s: float) -> RunState:
        records, training = self._records, self._records.training
        is_here = process.get("host", platform.node()) == platform.node()
        result = _read_if_there(self.folder, "result")
        status = self._status(process, result, silent_s)
        elapsed_s = _elapsed_s(training.recent_steps, training.recent_epochs, result)
        if status in AT_WORK and status not in ("paused", "preparing"):
            elapsed_s += silent_s
        stages = self._forecast.get("stages_s", {})
        return RunState(
            run=self.folder.name,
            folder=self.folder.path,
            status=status,
            recipe=self._recipe,
            pid=process.get("pid"),
            host=process.get("host", ""),
            is_here=is_here,
            started_at=self._environment.get("started_at", ""),
            elapsed_s=elapsed_s,
            silent_s=silent_s,
            longest_gap_s=training.longest_gap_s,
            steps_per_epoch=self._forecast.get("steps_per_epoch", 0),
            last_step=next(reversed(training.recent_steps), None),
            recent_steps=tuple(training.recent_steps),
            last_epoch=next(reversed(training.recent_epochs), None),
            recent_epochs=tuple(training.recent_epochs),
            best_epoch=training.best_epoch,
            eta=records.eta,
            expected_s={name: float(stage["median"]) for name, stage in stages.items()},
            phases_s=result.get("seconds") or training.phases_s(elapsed_s),
            usage=records.usage,
            curves=records.curves(),
            changes=tuple(records.changes),
            events=tuple(records.events),
            result={key: value for key, value in result.items() if key != "wrong"},
        )

    def _silent_s(self, spoke: bool) -> float:
        """Return the seconds since the last record.

        Clocks of machines that share a folder may differ: theirs counts for the first look only.
        """
        now = time.monotonic()
        if spoke and self._spoke_at is not None:
            self._spoke_at = now
        elif self._spoke_at is None:
            names = ("steps.jsonl", "epochs.jsonl", "eta.jsonl", "recipe.yaml")
            paths = (self.folder.path / name for name in names)
            written_at = max((p.stat().st_mtime for p in paths if p.is_file()), default=time.time())
            self._spoke_at = now - max(0.0, time.time() - written_at)
        return now - self._spoke_at

    def _status(self, process: Record, result: Record, silent_s: float) -> Status:
        if result:
            return result["status"]
        if not process or not self._is_process_alive():
            # The result may have been written since it was looked for.
            if self.folder.is_finished:
                return _read_if_there(self.folder, "result")["status"]
            return self._without_process(silent_s)
        if is_paused(self._records.changes, process):
            return "paused"
        return self._at_work_on(silent_s)

    def _is_process_alive(self) -> bool:
        now = time.monotonic()
        if now - self._alive_at >= ALIVE_S:
            self._is_alive, self._alive_at = self.folder.is_running, now
        return self._is_alive

    def _at_work_on(self, silent_s: float) -> Status:
        """Return what a living process does; it says nothing of its own while it does it."""
        training = self._records.training
        if not training.recent_steps:
            return "preparing"
        if silent_s < PENDING_S:
            return "training"
        if any(self.folder.checkpoints.glob(".*tmp*")):
            return "saving"
        step, epoch = training.recent_steps[-1], next(reversed(training.recent_epochs), None)
        if epoch is not None and epoch["step"] >= step["step"]:
            return "testing" if _is_last(epoch, self._recipe) else "training"
        is_epoch_over = abs(step["epoch"] - round(step["epoch"])) < 1e-6
        return "validating" if is_epoch_over else "training"

    def _without_process(self, silent_s: float) -> Status:
        """Return how a run without result ended, unless its process has yet to claim it."""
        row = Ledger(ledger_path()).row(self.folder.name)
        if row and row.status in ENDED:
            return ENDED[row.status]
        is_new = row is None and not self._records.training.recent_steps
        return "preparing" if is_new and silent_s < YOUNG_S else "interrupted"


def _recipe(folder: RunFolder, forecast: Record) -> Recipe:
    """Return what is trained now; of a run with a budget, for the epochs that fit into it."""
    try:
        recipe = present_recipe(folder)
    except RunFolderError:
        raise
    except InputError as error:
        raise RunFolderError(
            f"The recipe of '{folder.path}' cannot be used ({error}); start a new run"
        ) from None
    planned = forecast.get("epochs", recipe.epochs)
    return recipe.model_copy(update={"epochs": planned}) if recipe.budget else recipe


def _is_last(epoch: Record, recipe: Recipe) -> bool:
    goal = recipe.goal.beyond(float(epoch.get("margin", 0.0))) if recipe.goal else None
    reached = goal is not None and goal.is_reached_by(epoch[f"validation_{goal.metric}"])
    return reached or epoch["epoch"] >= recipe.epochs


def _elapsed_s(steps: Iterable[Record], epochs: Iterable[Record], result: Record) -> float:
    if "total_s" in result:
        return float(result["total_s"])
    return max((float(record["elapsed_s"]) for record in (*steps, *epochs)), default=0.0)


def _read_if_there(folder: RunFolder, name: str) -> Record:
    """Return what `name`.json holds; nothing if it is not there, or is being taken away."""
    if not (folder.path / f"{name}.json").is_file():
        return {}
    try:
        return folder.read_json(name)
    except RunFolderError:
        return {}
