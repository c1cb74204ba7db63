"""What the terminal shows of a run that was made: a screenful, however long it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from traintime.forecast.forecast import Forecast
from traintime.recipe.parse import make_recipe
from traintime.recipe.steering import change_in_words
from traintime.report.rows import labelled
from traintime.report.terminal import score_lines, title
from traintime.train.records import ROLL_BACK
from traintime.units import format_duration, format_interval, format_percent

MOST_EPOCHS, ENDS = 12, 3
"""Epochs of a run that are listed all; of more, so many at either end, and the best."""
MOST_INCIDENTS = 8
"""Of what it was told and what it survived, the newest."""


def run_lines(known: Mapping[str, Any]) -> RenderableType:
    """Return what is known of one run, finished or not."""
    recipe = make_recipe(known["recipe"])
    rows: list[tuple[str, RenderableType]] = [
        ("Run", Text(known["run"], "bold")),
        ("", title(recipe)),
        ("folder", known["folder"]),
        ("curves", f"tensorboard --logdir '{Path(known['folder']).parent}'"),
    ]
    if "forecast" in known:
        forecast = Forecast.from_json(known["forecast"])
        rows.append(("forecast", format_interval(forecast.total_s)))
        rows.append(("computed as", str(forecast.execution)))
    rows += _epoch_rows(known)
    rows += _incident_rows(known)
    result = known.get("result")
    if result is None:
        resume = f"not finished; go on with: traintime runs resume {known['run']}"
        return labelled([*rows, ("status", Text(resume, "yellow"))])
    took = f"{result['status']} after {format_duration(result['total_s'])}"
    if result.get("reason"):
        took += f": {result['reason']}"
    rows += [("status", took), ("report", f"{known['folder']}/report.html"), ("", "")]
    return Group(labelled(rows), score_lines(result["test"]))


def _epoch_rows(known: Mapping[str, Any]) -> list[tuple[str, RenderableType]]:
    """Return a run's validations; of many the first, the best and the last ones."""
    epochs: Sequence[Mapping[str, Any]] = known["epochs"]
    shown: set[int] = set(range(len(epochs)))
    best = max(shown, key=lambda number: epochs[number]["validation_accuracy"], default=0)
    if len(epochs) > MOST_EPOCHS:
        shown = {*range(ENDS), best, *range(len(epochs) - ENDS, len(epochs))}
    rows: list[tuple[str, RenderableType]] = []
    for number in sorted(shown):
        epoch = epochs[number]
        accuracy = format_percent(epoch["validation_accuracy"], 2)
        words = f"{format_duration(epoch['elapsed_s']):>8}  accuracy {accuracy}"
        mark = "  the best" if number == best and len(epochs) > 1 else ""
        rows.append((f"epoch {epoch['epoch']}", f"{words}{mark}"))
    if len(shown) < len(epochs):
        rows.append(("", _all_of(len(shown), len(epochs), "epochs", known)))
    return rows


def _incident_rows(known: Mapping[str, Any]) -> list[tuple[str, RenderableType]]:
    """Return what a run was told and what it survived, in its order."""
    told = [
        (change["elapsed_s"], f"{change_in_words(change)} · {change.get('by', '')}")
        for change in known["changes"]
        if change["verb"] != ROLL_BACK  # its event says more
    ]
    survived = [(event["elapsed_s"], event["message"]) for event in known["events"]]
    happened = sorted([*told, *survived])
    rows: list[tuple[str, RenderableType]] = [
        ("" if index else "on the way", f"{format_duration(elapsed_s):>8}  {words}")
        for index, (elapsed_s, words) in enumerate(happened[-MOST_INCIDENTS:])
    ]
    if len(happened) > MOST_INCIDENTS:
        rows.append(("", _all_of(MOST_INCIDENTS, len(happened), "events", known)))
    return rows


def _all_of(shown: int, count: int, what: str, known: Mapping[str, Any]) -> Text:
    """Return how many are shown of how many, and how to see the others."""
    all_of_them = f"all of them: traintime runs show {known['run']} --json"
    return Text(f"{shown} of {count:,} {what}; {all_of_them}", "dim")
