"""From single races to rows: medians, spread and ratios within a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from contenders import TRAINTIME, Contender


@dataclass(frozen=True)
class RaceRun:
    """One run of one contender.

    Args:
        work: Name of the work.
        contender: Name of the contender.
        seed: Its seed.
        reached: Whether it got to the target.
        seconds: From process start until it said so, or gave up.
        seconds_to_exit: From process start to its end.
        cores_used_by_others: What else the machine did meanwhile, on average.
        timed_out: Whether it was ended before it had an outcome.
        problem: Why there is no outcome; empty if there is one.
        outcome: What the contender printed.
    """

    work: str
    contender: str
    seed: int
    reached: bool
    seconds: float
    seconds_to_exit: float
    cores_used_by_others: float
    timed_out: bool
    problem: str
    outcome: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One contender over all seeds of one work.

    Args:
        contender: Its label.
        num_runs: Runs made.
        num_reached: Runs that got to the target.
        seconds: Median over the runs that got there.
        seconds_min: Least of them.
        seconds_max: Most of them.
        epochs: Median epochs of these.
        epoch_s: Median seconds per epoch over all runs, evaluation included.
        ratio: Median over seeds of this contender's time over traintime's.
        ratio_is_bound: Whether a run that gave up stands in that ratio with the time it had spent,
            so that the true ratio is larger.
        note: Why there is nothing to show.
    """

    contender: str
    num_runs: int
    num_reached: int
    seconds: float | None
    seconds_min: float | None
    seconds_max: float | None
    epochs: float | None
    epoch_s: float | None
    ratio: float | None
    ratio_is_bound: bool
    note: str


def rows(work: str, taking_part: Sequence[Contender], runs: Sequence[RaceRun]) -> list[Row]:
    """Return a row for each contender, those that could not run included."""
    of_work = [run for run in runs if run.work == work]
    ours = {
        run.seed: run.seconds for run in of_work if run.contender == TRAINTIME.name and run.reached
    }
    return [_row(contender, of_work, ours) for contender in taking_part]


def _row(contender: Contender, of_work: Sequence[RaceRun], ours: dict[int, float]) -> Row:
    runs = [run for run in of_work if run.contender == contender.name]
    reached = [run for run in runs if run.reached]
    seconds = [run.seconds for run in reached]
    comparable = [run for run in runs if run.seed in ours and (run.outcome or run.timed_out)]
    ratios = [run.seconds / ours[run.seed] for run in comparable]
    epoch_seconds = [s for run in runs for s in run.outcome.get("epoch_seconds", [])]
    problems = [run.problem for run in runs if run.problem]
    return Row(
        contender=contender.label,
        num_runs=len(runs),
        num_reached=len(reached),
        seconds=_median(seconds),
        seconds_min=min(seconds, default=None),
        seconds_max=max(seconds, default=None),
        epochs=_median([run.outcome["epochs"] for run in reached if run.outcome["epochs"]]),
        epoch_s=_median(epoch_seconds),
        ratio=_median(ratios),
        ratio_is_bound=any(not run.reached for run in comparable),
        note=contender.why_not() or ("" if seconds or not problems else problems[0]),
    )


def table(title: str, shown: Sequence[Row]) -> Table:
    """Return the rows as a table for the terminal."""
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("")
    for heading in ("seconds", "min-max", "reached", "epochs", "s/epoch", "× traintime"):
        drawn.add_column(heading, justify="right")
    for row in shown:
        if row.note:
            drawn.add_row(row.contender, row.note, *[""] * 5)
            continue
        spread = f"{row.seconds_min:.1f}-{row.seconds_max:.1f}" if row.seconds_min else "–"
        ratio = f"{'>' if row.ratio_is_bound else ''}{_shown(row.ratio)}"
        drawn.add_row(
            row.contender,
            _shown(row.seconds),
            spread,
            f"{row.num_reached}/{row.num_runs}",
            _shown(row.epochs, 0),
            _shown(row.epoch_s, 2),
            ratio,
        )
    return drawn


def one_line(run: RaceRun) -> str:
    """Return what one run came to, for those who wait."""
    result = f"{'reached in' if run.reached else 'gave up after'} {run.seconds:.1f} s"
    if run.outcome:
        result += f", {run.outcome['epochs']} epochs, accuracy {run.outcome['accuracy']:.4f}"
    return f"{run.work}  seed {run.seed}  {run.contender}: {run.problem or result}"


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _shown(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
