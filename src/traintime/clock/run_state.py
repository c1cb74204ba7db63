"""What is known of a run at one moment, as someone sees it who looks at its folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from traintime.clock.eta import Eta
from traintime.clock.thinned import Point
from traintime.recipe import Recipe

Record = dict[str, Any]
Curve = tuple[Point, ...]

Status = Literal[
    "preparing",
    "training",
    "validating",
    "saving",
    "paused",
    "testing",
    "target reached",
    "finished",
    "stopped early",
    "stopped",
    "diverged",
    "failed",
    "interrupted",
]
AT_WORK: tuple[Status, ...] = (
    "preparing",
    "training",
    "validating",
    "saving",
    "paused",
    "testing",
)


@dataclass(frozen=True)
class RunWarning:
    """Something that a person should look at.

    Args:
        kind: What it is, in a word or two; the same for all of its kind.
        found: What was found, with figures.
        advice: What to try.
    """

    kind: str
    found: str
    advice: str


@dataclass(frozen=True)
class Curves:
    """How a run went; those of training over epochs, those of its machine over seconds."""

    train_loss: Curve = ()
    validation_loss: Curve = ()
    validation_accuracy: Curve = ()
    lr: Curve = ()
    samples_per_s: Curve = ()
    step_time_s: Curve = ()
    cpu: Curve = ()
    rss_bytes: Curve = ()
    gpu: Curve = ()
    disk_bytes_per_s: Curve = ()


@dataclass(frozen=True)
class RunState:
    """A run at one moment.

    Args:
        run: Its name.
        folder: Where it is kept.
        status: What it does, or how it ended.
        recipe: With the changes that were made while it ran.
        pid: Of the process that trains it; None if none does.
        host: Of the machine that trains it.
        is_here: Whether that machine is this one.
        started_at: ISO with time zone; empty if it is not noted.
        elapsed_s: Seconds since the run began, up to now if it is at work.
        silent_s: Seconds since it wrote its last record.
        longest_gap_s: The most seconds between two records of steps so far.
        steps_per_epoch: Optimizer steps in an epoch.
        last_step: The newest record of steps.
        recent_steps: The newest records of steps, the last one at the end.
        last_epoch: The newest validation.
        recent_epochs: The newest validations, the last one at the end.
        best_epoch: The validation of the least loss.
        eta: As the run has it.
        expected_s: Seconds by stage, as forecast.
        phases_s: Seconds by what they were spent on.
        usage: The newest sample of what the process uses.
        curves: How it went.
        changes: Steering commands that were carried out, the last one at the end.
        events: Faults survived and the like, the last one at the end.
        warnings: What a person should look at.
        result: How it ended; empty if it has not.
    """

    run: str
    folder: Path
    status: Status
    recipe: Recipe
    pid: int | None = None
    host: str = ""
    is_here: bool = True
    started_at: str = ""
    elapsed_s: float = 0.0
    silent_s: float = 0.0
    longest_gap_s: float = 0.0
    steps_per_epoch: int = 0
    last_step: Record | None = None
    recent_steps: tuple[Record, ...] = ()
    last_epoch: Record | None = None
    recent_epochs: tuple[Record, ...] = ()
    best_epoch: Record | None = None
    eta: Eta | None = None
    expected_s: dict[str, float] = field(default_factory=dict[str, float])
    phases_s: dict[str, float] = field(default_factory=dict[str, float])
    usage: Record | None = None
    curves: Curves = Curves()
    changes: tuple[Record, ...] = ()
    events: tuple[Record, ...] = ()
    warnings: tuple[RunWarning, ...] = ()
    result: Record = field(default_factory=dict[str, Any])

    @property
    def is_over(self) -> bool:
        """Whether no process is at work on it any more."""
        return self.status not in AT_WORK

    @property
    def share_done(self) -> float:
        """Share of the epochs that are done, or of the time where that ends the run."""
        if self.result:
            return 1.0
        if self.recipe.budget and self.eta:
            return min(1.0, self.elapsed_s / max(self.eta.finish_s.median, 1e-9))
        done = float(self.last_step["epoch"]) if self.last_step else 0.0
        return min(1.0, done / self.recipe.epochs)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        shallow = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **shallow,
            "folder": str(self.folder),
            "recipe": self.recipe.model_dump(mode="json"),
            "eta": dataclasses.asdict(self.eta) if self.eta else None,
            "curves": {
                name: [list(point) for point in curve] for name, curve in vars(self.curves).items()
            },
            "warnings": [dataclasses.asdict(warning) for warning in self.warnings],
            "is_over": self.is_over,
            "share_done": self.share_done,
        }
