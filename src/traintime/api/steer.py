"""The verbs that steer a run while it is trained: set, extend, pause, continue, save, stop."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from traintime.api.run_records import is_paused
from traintime.api.runs import find_run
from traintime.errors import InputError, RunFolderError
from traintime.ledger.commands import Command, Commands
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe, read_recipe
from traintime.recipe.parse import make_recipe
from traintime.recipe.steering import Reached, Verb, differences, steered
from traintime.train.records import Change, still_valid
from traintime.train.steering import CHANGING, read_changes

PATIENCE_S = 10.0
"""How long is waited for the run to take a command up; a step may take longer than that."""
LOOK_S = 0.05


@dataclass(frozen=True)
class Steered:
    """What came of a command.

    Args:
        run: Name of the run.
        verb: What it was told.
        state: "taken up"; "waiting" for a step that takes long; "when resumed" if nobody is at
            work on the run; "already so" if it was paused, or was not.
        change: What it did, once it was taken up.
        changes: Fields that it changes: name to old and new value.
    """

    run: str
    verb: str
    state: str
    change: Change | None
    changes: dict[str, tuple[Any, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)


def steer_run(name: str, verb: Verb, **fields: Any) -> Steered:
    """Tell a run what to do from its next step on.

    Args:
        name: Its name, its path, or "latest".
        verb: "set" and "extend" take fields; "pause", "continue", "save" and "stop" none.
        **fields: Recipe fields, for example `lr=0.01`, or `epochs=5` to extend by.

    Raises:
        InputError: A field cannot be changed while a run goes, or not to that value.
        RunFolderError: There is no such run, or it is finished.
        StorageError: The disk refused.
    """
    folder = find_run(name)
    _refuse_the_finished(folder)
    changes: dict[str, tuple[Any, Any]] = {}
    if verb in CHANGING:
        if not fields:
            example = "epochs=5" if verb == "extend" else "lr=0.01"
            raise InputError(
                f"Nothing to change; type: traintime runs {verb} {folder.name} {example}"
            )
        now = present_recipe(folder)
        changes = differences(now, steered(now, verb, fields, _reached(folder)))
    elif not folder.is_running:
        raise RunFolderError(
            f"Nobody is at work on the run '{folder.name}', so there is nothing to {verb}. "
            f"To go on with it, type: traintime runs resume {folder.name}"
        )
    elif _is_so_already(folder, verb):
        return Steered(folder.name, verb, "already so", None, changes)
    commands = Commands(folder.path)
    command = commands.send(verb, fields)
    change = _awaited(folder, commands, command)
    if change and change.refused:
        raise InputError(change.refused)
    if folder.is_finished and not change:
        commands.remove(command)
        _refuse_the_finished(folder)
    state = "taken up" if change else "waiting" if folder.is_running else "when resumed"
    return Steered(folder.name, verb, state, change, changes)


def present_recipe(folder: RunFolder) -> Recipe:
    """Return the recipe of a run with all that was changed on the way, or will be next."""
    recipe = read_recipe(**folder.read_recipe())
    taken_up = read_changes(folder)
    for change in still_valid(taken_up):
        values = {name: new for name, (_, new) in change.changes.items()}
        recipe = make_recipe({**recipe.model_dump(mode="json"), **values})
    for command in Commands(folder.path).waiting():
        if command.verb in CHANGING and command.id not in {change.id for change in taken_up}:
            with suppress(InputError):  # it will be refused
                recipe = steered(recipe, command.verb, command.fields, _reached(folder))
    return recipe


def _reached(folder: RunFolder) -> Reached:
    """Return how far a run is, as its folder shows: no farther than it really is.

    One that nobody is at work on goes on from its newest checkpoint.
    """
    saved = sorted(folder.checkpoints.glob("step-*.safetensors"))
    kept = int(saved[-1].stem.removeprefix("step-")) if saved else 0
    is_running = folder.is_running
    done = [
        record
        for record in folder.records("epochs", needed={"epoch", "step", "elapsed_s"})
        if is_running or record["step"] < kept  # one of its very step may be of later
    ]
    reached = (done[-1]["epoch"] + 1, done[-1]["elapsed_s"]) if done else (0, 0.0)
    return Reached(*reached, folder.name)


def _refuse_the_finished(folder: RunFolder) -> None:
    if folder.is_finished:
        raise RunFolderError(
            f"The run '{folder.name}' is finished; there is nothing to steer. To train on, start "
            f"anew with: traintime train '{folder.path / 'recipe.yaml'}' epochs=..."
        )


def _is_so_already(folder: RunFolder, verb: Verb) -> bool:
    """Return whether a run is told to pause and does, or to go on and does."""
    if verb not in ("pause", "continue") or Commands(folder.path).waiting():
        return False
    changes = folder.records("changes", needed={"verb"})
    return is_paused(changes, folder.read_json("process")) == (verb == "pause")


def _awaited(folder: RunFolder, commands: Commands, command: Command) -> Change | None:
    """Wait until the run has taken a command up, if a process is at work on it."""
    given_up_at = monotonic() + PATIENCE_S
    while folder.is_running and monotonic() < given_up_at and commands.is_waiting(command):
        if folder.is_finished:
            break
        sleep(LOOK_S)
    return next((change for change in read_changes(folder) if change.id == command.id), None)
