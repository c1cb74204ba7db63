"""The files of a run folder, read for the report.

A run may have been killed at any moment: every file but the recipe may be missing, and lines of a
`.jsonl` file may be damaged. Where a record appears twice the later one counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from traintime.errors import RunFolderError
from traintime.ledger.record_file import read_records
from traintime.recipe.recipe import Target, parse_target
from traintime.recipe.steering import alters_plan
from traintime.units import Interval

FORMAT = 1

Record = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; an empty record or tuple stands for a missing file.

    Args:
        folder: The run folder.
        recipe: Field by field.
        version: The version of traintime that made the run.
        environment: Machine, versions, how it ran and what `auto` picked.
        forecast: What was expected before the start.
        result: How it ended; empty if the run did not come to an end.
        steps: One record per logged step.
        epochs: One record per epoch.
        eta: The estimates of the total duration as the run went on.
        changes: Commands that were given to the run while it went.
        events: Faults that it survived.
        data: Of images of one's own: how many there were, and which could not be read.
        started: When the run started.
    """

    folder: Path
    recipe: Record
    version: str
    environment: Record
    forecast: Record
    result: Record
    steps: tuple[Record, ...]
    epochs: tuple[Record, ...]
    eta: tuple[Record, ...]
    changes: tuple[Record, ...]
    events: tuple[Record, ...]
    data: Record
    started: datetime

    @property
    def goal(self) -> Target | None:
        """The target of the run, if it had one."""
        target = self.last_values.get("target", self.recipe.get("target"))
        return parse_target(str(target)) if target else None

    @property
    def last_values(self) -> Record:
        """The fields that were changed on the way, as they were at the end."""
        changed = (section(change, "changes") for change in self.changes)
        return {name: new for fields in changed for name, (_, new) in fields.items()}

    @property
    def has_ended(self) -> bool:
        """Whether the run came to its result; one that was killed or stopped can be resumed."""
        return bool(self.result)

    @property
    def did_all(self) -> bool:
        """Whether the run did all it was asked to, in the end."""
        return self.result.get("status") in ("target reached", "finished")

    @property
    def changed_at_s(self) -> float | None:
        """When it was last made another run than was forecast, in seconds since it began."""
        at = [float(c.get("elapsed_s") or 0.0) for c in self.changes if alters_plan(c)]
        return at[-1] if at else None

    @property
    def was_changed(self) -> bool:
        """Whether it was made another run than was forecast, on its way."""
        return self.changed_at_s is not None

    @property
    def went_to_plan(self) -> bool:
        """Whether the run did what was forecast, so that its duration can be judged."""
        return self.did_all and not self.was_changed

    @property
    def expected_stages(self) -> dict[str, Interval]:
        """What was forecast for each stage, for the epochs that the target left over."""
        stages = {k: interval(v) for k, v in section(self.forecast, "stages_s").items()}
        asked, done = self.forecast.get("epochs"), self.result.get("epochs")
        share = done / asked if asked and done and self.went_to_plan else 1.0
        if self.recipe.get("budget") and self.result.get("status") == "finished":
            share = 1.0  # all of the time was used, for however many epochs
        return {
            key: expected.scaled(share) if key in ("train", "validate") else expected
            for key, expected in stages.items()
            if expected
        }

    @property
    def elapsed_s(self) -> float:
        """Duration of the run, or of what is recorded of it."""
        seen = [record.get("elapsed_s") or 0.0 for record in (*self.steps[-1:], *self.epochs[-1:])]
        return float(self.result.get("total_s") or max(seen, default=0.0))


def read_run_files(folder: Path) -> RunFiles:
    """Read the files of a run folder.

    Raises:
        RunFolderError: The folder holds no recipe, is of a newer format, or a file is damaged.
    """
    recipe = _read_recipe(folder)
    made_by = _read_json(folder / "format.json")
    if made_by.get("format", FORMAT) > FORMAT:
        raise RunFolderError(
            f"'{folder}' has the run format {made_by['format']}, and this version reads up to "
            f"{FORMAT}. Update with: pip install --upgrade traintime"
        )
    environment = _read_json(folder / "environment.json")
    return RunFiles(
        folder=folder,
        recipe=recipe,
        version=str(made_by.get("traintime", "")),
        environment=environment,
        forecast=_read_json(folder / "forecast.json"),
        result=_read_json(folder / "result.json"),
        steps=_read_records(folder / "steps.jsonl", ordered_by="step"),
        epochs=_read_records(folder / "epochs.jsonl", ordered_by="epoch"),
        eta=_read_records(folder / "eta.jsonl", ordered_by="elapsed_s"),
        changes=tuple(read_records(folder / "changes.jsonl")),
        events=tuple(read_records(folder / "events.jsonl")),
        data=_read_json(folder / "data.json"),
        started=_started(environment, folder),
    )


def interval(record: Record | None) -> Interval | None:
    """Return the interval that a record holds, or None if it holds none."""
    if not record or record.get("median") is None:
        return None
    median = float(record["median"])
    low, high = record.get("low"), record.get("high")
    return Interval(
        median,
        median if low is None else float(low),
        median if high is None else float(high),
        float(record.get("level", 0.8)),
    )


def section(record: Record, key: str) -> Record:
    """Return the record under a key; an empty one where there is none."""
    return record.get(key) or {}


def listed(record: Record, key: str) -> list[Any]:
    """Return the list under a key; an empty one where there is none."""
    return record.get(key) or []


def _read_recipe(folder: Path) -> Record:
    path = folder / "recipe.yaml"
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise RunFolderError(
            f"'{folder}' is no run folder: it holds no recipe.yaml. "
            "See the run folders with: ls runs"
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _damaged(path, error) from None
    return _as_record(path, recipe)


def _read_json(path: Path) -> Record:
    try:
        return _as_record(path, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _as_record(path: Path, value: Any) -> Record:
    if not isinstance(value, dict):
        raise _damaged(path, ValueError("expected keys and values"))
    return value  # pyright: ignore[reportUnknownVariableType]


def _read_records(path: Path, ordered_by: str) -> tuple[Record, ...]:
    return _without_repeated(list(read_records(path, needed={ordered_by})), ordered_by)


def _without_repeated(records: list[Record], key: str) -> tuple[Record, ...]:
    """Drop what a resumed run did a second time."""
    kept: list[Record] = []
    for record in records:
        while kept and kept[-1][key] >= record[key]:
            kept.pop()
        kept.append(record)
    return tuple(kept)


def _damaged(path: Path, error: Exception) -> RunFolderError:
    reason = str(error).splitlines()[0]
    return RunFolderError(
        f"'{path}' cannot be read ({reason}); a run writes it whole. "
        f"Restore it, or run again with: traintime train {path.parent / 'recipe.yaml'}"
    )


def _started(environment: Record, folder: Path) -> datetime:
    """Return the recorded start, else the one in the folder's name, else when it was written."""
    if recorded := environment.get("started_at"):
        return datetime.fromisoformat(str(recorded))
    try:
        return datetime.strptime(folder.resolve().name[:15], "%Y%m%d-%H%M%S")
    except ValueError:
        return datetime.fromtimestamp((folder / "recipe.yaml").stat().st_mtime, tz=UTC)
