"""What may be changed in a recipe while it is being trained.

Only what the next step can take up: rates, penalties, the end of the run and when it is saved. The
data, the network and the batch are settled when a run begins; to change those is another run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from traintime.errors import InputError, nearest
from traintime.recipe.budget import Budget, parse_budget, refuse_past
from traintime.recipe.parse import make_recipe, without_none
from traintime.recipe.recipe import MOST_EPOCHS, Recipe
from traintime.units import format_duration

Verb = Literal["set", "extend", "pause", "continue", "save", "stop"]

STEERABLE = (
    "lr",
    "momentum",
    "beta2",
    "weight_decay",
    "l1",
    "l2",
    "grad_clip",
    "label_smoothing",
    "epochs",
    "target",
    "confidence",
    "budget",
    "patience",
    "min_delta",
    "min_chance",
    "checkpoint_every_s",
)
EXTENDABLE = ("epochs", "budget")
OF_ENDS_AND_MACHINES = {
    *("seed", "max_damaged", "cache", "workers", "checkpoint_every_s"),
    *("target", "confidence", "patience", "min_delta", "min_chance", "monitor"),
    *("device", "precision", "memory_format", "convolution", "compile"),
}
"""Fields that leave a learning curve as it is, but for chance and rounding."""


def learns_alike(one: Recipe, other: Recipe) -> bool:
    """Say whether two recipes have the same learning curve, wherever and whenever they end.

    One that follows the time has none of its own: its schedule is what the machine makes it.
    """
    if one.budget or other.budget:
        return False
    return one.model_dump(exclude=OF_ENDS_AND_MACHINES) == other.model_dump(
        exclude=OF_ENDS_AND_MACHINES
    )


@dataclass(frozen=True)
class Reached:
    """How far a run has come: its end cannot be put before that.

    Args:
        epochs: That are done, and the one that is being trained.
        elapsed_s: Seconds that it has taken.
        run: Its name, for what can be typed next.
    """

    epochs: int = 0
    elapsed_s: float = 0.0
    run: str = "latest"


BEGINNING = Reached()


def steered(
    recipe: Recipe, verb: Verb, fields: Mapping[str, Any], reached: Reached = BEGINNING
) -> Recipe:
    """Return a recipe with some fields changed, as a run can take them up while it goes.

    Args:
        recipe: As the run is trained now.
        verb: "set" puts values in place; "extend" adds to epochs or to the budget.
        fields: Fields by name, as they were typed.
        reached: How far the run is.

    Raises:
        InputError: A field cannot be changed while the run goes, or not to that value.
    """
    known = EXTENDABLE if verb == "extend" else STEERABLE
    for name in fields:
        if name not in known:
            raise InputError(_refusal(name, verb))
    values = without_none(fields)
    if verb == "extend":
        values = {name: _longer(recipe, name, value, reached.run) for name, value in values.items()}
    _refuse_another_kind_of_end(recipe, values)
    changed = make_recipe({**recipe.model_dump(mode="json"), **values})
    if "budget" in values and changed.time_budget:
        refuse_past(changed.time_budget)
    _refuse_an_end_behind(changed, values, reached)
    if (changed.patience > 0) != (recipe.patience > 0):
        raise InputError(
            "patience can be changed, but neither switched on nor off while a run goes: the best "
            "weights so far are kept from its beginning, or not at all"
        )
    return changed


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ: name to old and new value."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _refuse_another_kind_of_end(recipe: Recipe, values: Mapping[str, Any]) -> None:
    """A schedule that follows the time cannot change to one that follows the steps."""
    kind = "budget" if recipe.budget else "epochs"
    other = "epochs" if recipe.budget else "budget"
    if other in values or values.get(kind, "") is None:
        raise InputError(
            f"This run ends by its {kind}, which its learning rate follows, and keeps to that. "
            f"Type {kind}=... instead"
        )


def _refuse_an_end_behind(changed: Recipe, values: Mapping[str, Any], reached: Reached) -> None:
    """Refuse an end that the run has passed: it would be over at once, and for good."""
    budget = changed.time_budget
    if "epochs" in values and changed.epochs < reached.epochs:
        given = f"epochs={changed.epochs} is behind the run, which is in its epoch {reached.epochs}"
        works = f"To let it end with that one, type epochs={reached.epochs}"
    elif "budget" in values and budget and (budget.seconds or math.inf) <= reached.elapsed_s:
        taken = format_duration(reached.elapsed_s)
        given = f"budget={values['budget']} is over: the run has taken {taken}"
        works = f"Type more than that, such as budget={math.ceil(reached.elapsed_s / 60) + 1}m"
    else:
        return
    stop = f"traintime runs stop {reached.run}"
    raise InputError(f"{given}. {works}. To save it and stop it now: {stop}")


def _refusal(name: str, verb: Verb) -> str:
    if verb == "extend":
        return f"'{name}' cannot be extended; type for example epochs=5, or budget=10m"
    near = nearest(name, STEERABLE)
    hint = f"Did you mean '{near}'? " if near else ""
    if name not in Recipe.model_fields:
        return f"A recipe has no field '{name}'. {hint}To be changed: {', '.join(STEERABLE)}"
    return (
        f"'{name}' is settled when a run begins; change it in a new one. "
        f"What can be changed while it goes: {', '.join(STEERABLE)}"
    )


def _longer(recipe: Recipe, name: str, more: Any, run: str) -> Any:
    if name == "epochs":
        if isinstance(more, bool) or not isinstance(more, int | float) or more < 1 or more % 1:
            given = f"{more:g}" if isinstance(more, float) else more
            raise InputError(f"epochs={given} adds no whole epochs; type for example epochs=5")
        return min(MOST_EPOCHS, recipe.epochs + int(more))
    added = parse_budget(str(more))
    now = recipe.time_budget
    if now is None:
        return str(more)  # refused with the words for it
    if now.seconds is None or added.seconds is None:
        raise InputError(
            f"budget={more} cannot be added to {now}; set the new end: "
            f"traintime runs set {run} budget=18:30"
        )
    return str(Budget(seconds=now.seconds + added.seconds))


def in_words(changes: Mapping[str, Any]) -> str:
    """Return changes as they are told: 'lr 0.02 → 0.01, epochs 10 → 15'."""
    return ", ".join(
        f"{name} {_shown(old)} → {_shown(new)}" for name, (old, new) in changes.items()
    )


def alters_plan(change: Mapping[str, Any]) -> bool:
    """Say whether a command, from its record, made a run another one than was forecast.

    A change of any field does, and so does a pause: neither was foreseen.
    """
    return bool(change.get("changes")) or change.get("verb") == "pause"


DONE = {
    "pause": "paused",
    "continue": "continued",
    "save": "saved",
    "stop": "stopped",
    "roll back": "rolled back",
}


def change_in_words(change: Mapping[str, Any]) -> str:
    """Return what a command did, from its record: 'lr 0.02 → 0.01', 'paused', 'set was refused'."""
    verb = str(change.get("verb") or "")
    if change.get("refused"):
        return f"{verb} was refused: {change['refused']}"
    return in_words(change.get("changes") or {}) or DONE.get(verb, "nothing changed")


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
