"""A user's own code in a run: it is told of everything, and cannot lose the run."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from traintime.errors import InputError, TraintimeError, nearest
from traintime.train.records import Observer

Callback = Observer
"""What users call an observer; one class, so that theirs can do all that ours do."""

NEARLY = 0.85
"""Likeness, of 1, from which a name is a misspelt one."""
HOOKS = tuple(name for name in vars(Observer) if not name.startswith("_"))


def checked_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Return callbacks as they were given.

    Raises:
        InputError: It is no list, holds something else, or one has a misspelt hook.
    """
    given = cast("object", callbacks)
    if not isinstance(given, list | tuple):
        raise InputError(
            f"callbacks={given!r} is no list. Type: callbacks=[{_as_typed(given)}], "
            "even if there is only one"
        )
    for each in cast("Sequence[object]", given):
        if not isinstance(each, Callback):
            raise InputError(
                f"callbacks=[{each!r}] holds no object of a traintime.Callback. Write "
                f"class MyCallback(traintime.Callback), then type: callbacks=[{_as_typed(each)}]"
            )
        _refuse_misspelt_hooks(each)
    return tuple(callbacks)


def _refuse_misspelt_hooks(callback: Callback) -> None:
    """Refuse a method that is called like a hook and is none: it would never be called."""
    kinds = [kind for kind in type(callback).__mro__ if issubclass(kind, Callback)]
    own = {name: value for kind in kinds for name, value in vars(kind).items()}
    for name in sorted(own.keys() - set(HOOKS)):
        meant = _misspelt(name)
        if callable(own[name]) and (meant or name.startswith("on_")):
            near = meant or nearest(name, HOOKS)
            hint = f"Did you mean '{near}'? " if near else ""
            raise InputError(
                f"{_name(callback)}.{name} is no hook: it would never be called. "
                f"{hint}There are {', '.join(HOOKS)}. "
                f"Call a method that is not to be one otherwise, such as '_{name}'"
            )


def _misspelt(name: str) -> str | None:
    """Return the hook whose name this nearly is, from its first letters on."""
    close = difflib.get_close_matches(name.casefold(), HOOKS, n=1, cutoff=NEARLY)
    return next((hook for hook in close if hook[:2] == name.casefold()[:2]), None)


def _as_typed(given: object) -> str:
    """Return how a callback, or the class of one, is written down."""
    kind = given if isinstance(given, type) else type(given)
    return f"{kind.__name__ if issubclass(kind, Callback) else 'MyCallback'}()"


class Callbacks(Observer):
    """Tells a user's callbacks what it is told; when one of them fails, it saves and ends the run.

    Args:
        callbacks: Told in this order.
        save: Writes a checkpoint, and returns when it is on disk.
        run: Name of the run.
    """

    def __init__(self, callbacks: Sequence[Callback], save: Callable[[], object], run: str) -> None:
        self._callbacks, self._save, self._run = callbacks, save, run
        self._saved_step: int | None = None
        self._has_failed = False
        for hook in HOOKS:  # each of them, whichever there will be
            if hook not in vars(Callbacks):
                setattr(self, hook, partial(self._tell, hook))

    def on_checkpoint(self, step: int) -> None:
        """Remember it for what a failure has to say."""
        self._saved_step = step
        self._tell("on_checkpoint", step)

    def stop_reason(self) -> str:
        """Return the first reason that a callback has."""
        reasons = [
            # A reason is shown, so `return True` has to say whose it is.
            answer if isinstance(answer, str) else f"{_name(callback)} returned {answer}"
            for callback, answer in self._tell("stop_reason")
            if answer
        ]
        return next(iter(reasons), "")

    def _tell(self, hook: str, *arguments: object) -> list[tuple[Callback, Any]]:
        if self._has_failed:  # what comes now is the saving; nobody is left to hear of it
            return []
        return [(each, self._call(each, hook, arguments)) for each in self._callbacks]

    def _call(self, callback: Callback, hook: str, arguments: tuple[object, ...]) -> object:
        try:
            return getattr(callback, hook)(*arguments)
        except (Exception, SystemExit) as error:
            self._has_failed = True
            with suppress(Exception):  # what failed first is what has to be told
                self._save()
            raise TraintimeError(self._explained(callback, hook, error)) from error

    def _explained(self, callback: Callback, hook: str, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)[1:2]  # the first one is our call
        at = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in frames)
        what = traceback.format_exception_only(error)[-1].strip()
        kept = (
            "It could not be saved now: it goes on from its last checkpoint, or starts over"
            if self._saved_step is None
            else f"The run is saved at step {self._saved_step}"
        )
        return (
            f"The callback {_name(callback)} failed in {hook}{at}: {what}. {kept}. Mend it and go "
            f"on with: traintime.resume('{self._run}', callbacks=[...]), or go on without it: "
            f"traintime runs resume {self._run}"
        )


def _name(callback: Callback) -> str:
    return type(callback).__name__
