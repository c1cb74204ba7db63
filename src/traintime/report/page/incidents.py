"""What happened on the way: commands to the run, and the faults that it survived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from traintime.recipe.steering import change_in_words, in_words
from traintime.report.page.run_files import Record, RunFiles, section
from traintime.train.records import ROLL_BACK

MOST_MARKS = 12
"""On a chart; more would hide the curves."""
LONGEST_LABEL = 24


@dataclass(frozen=True)
class Incident:
    """Something that happened while a run was trained.

    Args:
        elapsed_s: When, in seconds since the run began.
        step: Optimizer steps taken.
        what: In a sentence.
        who: Gave the command; empty for a fault.
    """

    elapsed_s: float
    step: int
    what: str
    who: str = ""


def incidents(run: RunFiles) -> list[Incident]:
    """Return commands and faults in the order in which they came."""
    # A roll-back is told by its event, with the reason.
    commands = [
        Incident(
            float(change.get("elapsed_s") or 0.0),
            int(change.get("step") or 0),
            change_in_words(change),
            str(change.get("by") or ""),
        )
        for change in run.changes
        if change.get("verb") != ROLL_BACK
    ]
    faults = [
        Incident(
            float(event.get("elapsed_s") or 0.0),
            int(event.get("step") or 0),
            str(event.get("message") or event.get("kind") or ""),
        )
        for event in run.events
    ]
    return sorted([*commands, *faults], key=lambda incident: incident.elapsed_s)


def marks(run: RunFiles) -> list[dict[str, Any]]:
    """Return what the learning curves are marked with: where fields were changed."""
    last: Record = run.steps[-1] if run.steps else {}
    per_epoch = last["step"] / last["epoch"] if last.get("epoch") else None
    return [
        {
            "elapsed_s": change.get("elapsed_s"),
            "epoch": change["step"] / per_epoch if per_epoch else None,
            "label": _label(section(change, "changes")),
        }
        for change in run.changes
        if section(change, "changes") and change.get("step") is not None
    ][:MOST_MARKS]


def _label(changes: Record) -> str:
    """Return what a mark is called: as much as fits beside it."""
    words = in_words(changes)
    return words if len(words) <= LONGEST_LABEL else ", ".join(changes)
