"""Taking up what a run is told while it goes, and taking it up again when the run is resumed.

What was changed at a step is part of the run: resumed from before that step, the run changes there
again, and so ends bit for bit like the one that was never interrupted.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

from traintime.errors import InputError, StorageError
from traintime.ledger.commands import Command, Commands
from traintime.ledger.run_folder import RunFolder
from traintime.recipe.parse import make_recipe
from traintime.recipe.steering import Reached, differences, steered
from traintime.train.records import ROLL_BACK, Change, still_valid

if TYPE_CHECKING:
    from traintime.train.loop import Loop

CHANGING = ("set", "extend")


class Steering:
    """Obeys the commands that are given to a run.

    Args:
        loop: The run.
        commands: Where they come from; None if there are none.

    Attributes:
        is_paused: Whether the run was told to pause.
    """

    def __init__(self, loop: Loop, commands: Commands | None) -> None:
        self._loop, self._commands = loop, commands
        self._changes: list[Change] = []
        self._due: deque[Change] = deque()
        self.is_paused = False

    def begin(self) -> None:
        """Take up what was asked for while nobody was at work on the run.

        To stop, pause or save was meant for a process that is gone, if it was asked for before this
        one began.
        """
        began_ns = time_ns() - 1e9 * (perf_counter() - self._loop.job.began_at)
        for command in self._commands.waiting() if self._commands else ():
            if command.verb not in CHANGING and command.given_ns < began_ns:
                self._remove(command)
        self.obey()

    def obey(self) -> None:
        """Take up the commands that wait; called where the state is whole.

        Raises:
            StoppedError: One of them was to stop.
        """
        for command in self._commands.waiting() if self._commands else ():
            if any(change.id == command.id for change in self._changes):
                self._remove(command)  # taken up by a process that was killed before it removed it
            else:
                self._take_up(command)

    def _take_up(self, command: Command) -> None:
        changes: dict[str, tuple[Any, Any]] = {}
        refused = ""
        try:
            if command.verb in CHANGING:
                self._refuse_too_late()
                self._take_up_all_that_is_due()
                new = steered(self._loop.recipe, command.verb, command.fields, self._reached())
                changes = differences(self._loop.recipe, new)
                self._apply({name: value for name, (_, value) in changes.items()})
                self._loop.tell_recipe()
            elif command.verb == "save":
                self._loop.save()
        except (InputError, StorageError) as error:
            refused = str(error)
        if command.verb in ("pause", "continue"):
            self.is_paused = command.verb == "pause"
        self._note(command.id, command.verb, command.by, changes, refused)
        self._remove(command)
        if command.verb == "stop":
            raise self._loop.stopped(f" by {command.by}")
        if self.is_paused and not self._loop.is_pausing:
            self._loop.pause()

    def _refuse_too_late(self) -> None:
        """Refuse a change to a run that was stopped in its test; it has its last weights."""
        if self._loop.progress.status != "running":
            recipe = self._loop.job.checkpoints.parent / "recipe.yaml"
            raise InputError(
                "The run is trained to its end, and only its test was left. To train on, start "
                f"anew with: traintime train '{recipe}' epochs=..."
            )

    def _reached(self) -> Reached:
        run = self._loop.job.checkpoints.parent.name
        return Reached(self._loop.progress.epoch + 1, self._loop.elapsed_s(), run)

    def _note(
        self,
        identity: str,
        verb: str,
        by: str,
        changes: Mapping[str, tuple[Any, Any]],
        refused: str = "",
    ) -> None:
        loop = self._loop
        progress, elapsed_s = loop.progress, loop.elapsed_s()
        change = Change(
            identity, verb, progress.step, progress.epoch, elapsed_s, now(), by, changes, refused
        )
        self._changes.append(change)
        loop.tell_change(change)

    def _remove(self, command: Command) -> None:
        assert self._commands is not None
        self._commands.remove(command)

    def _apply(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Put values in place, as from a step on."""
        loop = self._loop
        if values:
            loop.recipe = make_recipe({**loop.recipe.model_dump(mode="json"), **values})
            loop.stepper.configure(loop.recipe)
            loop.pace.change(loop.recipe, loop.progress.step if step is None else step)

    # What was taken up before

    def recall(self, changes: Sequence[Change]) -> None:
        """Take up again what earlier processes on the run took up, now or when its step comes."""
        self._changes = list(changes)
        self._fold()
        self._loop.tell_recipe()

    def begin_again(self, values: Mapping[str, Any]) -> None:
        """Let what held until now, and these values, hold from the present step on.

        The run has come back to that step: what was taken up after it counts no more.
        """
        loop = self._loop
        kept = make_recipe({**loop.recipe.model_dump(mode="json"), **values})
        self.is_paused = False
        self._fold()
        changes = differences(loop.recipe, kept)
        self._due.clear()
        self._apply({name: value for name, (_, value) in changes.items()})
        loop.tell_recipe()
        self._note(secrets.token_hex(8), ROLL_BACK, "traintime", changes)

    def attempts_at(self, step: int) -> int:
        """Return how often the run came back to a step since anybody changed it."""
        count = 0
        for change in reversed(self._changes):
            if change.verb != ROLL_BACK and change.changes:
                break
            count += change.verb == ROLL_BACK and change.step == step
        return count

    def _fold(self) -> None:
        """Work out the recipe at the present step from the first one and all changes."""
        loop = self._loop
        loop.recipe, loop.pace = loop.job.recipe, loop.first_pace()
        loop.stepper.configure(loop.recipe)
        self._due.clear()
        for change in still_valid(self._changes):
            if self._is_past(change):
                self._apply(_new_values(change), change.step)
            else:
                self._due.append(change)

    def take_up_what_is_due(self) -> None:
        """Take up again what was changed at the present step before."""
        while self._due and self._is_past(self._due[0]):
            change = self._due.popleft()
            self._apply(_new_values(change), change.step)
            self._loop.tell_recipe()

    def _take_up_all_that_is_due(self) -> None:
        """Take up now what was changed later before, as a newer command stands above it."""
        if self._due:
            self.begin_again({k: v for change in self._due for k, v in _new_values(change).items()})

    def _is_past(self, change: Change) -> bool:
        progress = self._loop.progress
        return (change.step, change.epoch) <= (progress.step, progress.epoch)


def _new_values(change: Change) -> dict[str, Any]:
    return {name: new for name, (_, new) in change.changes.items()}


def now() -> str:
    """Return the present as ISO time with its zone."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def read_changes(folder: RunFolder) -> list[Change]:
    """Return the changes that a run folder tells of; what is damaged of them is left out."""
    names = [field.name for field in fields(Change)]
    return [
        Change(**{name: record[name] for name in names})
        for record in folder.records("changes")
        if all(name in record for name in names)
    ]
