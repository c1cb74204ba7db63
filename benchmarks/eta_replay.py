"""Recorded runs, replayed to our clock and to what progress bars do: when will it end?

A module of `eta_accuracy.py`. At some shares of a run's duration each is asked for the time to the
end; what the run really took says how far it was off.

The bars, as their code has it, given the run's whole number of steps: tqdm divides by a moving
average of the time between updates (smoothing 0.3); Keras by the mean since the epoch began, and so
does Lightning, whose bar sets tqdm's smoothing to 0 and starts anew each epoch. None of them knows
what comes between epochs.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traintime.clock.eta import Clock
from traintime.clock.loop_clock import LoopClock
from traintime.forecast.forecast import Forecast
from traintime.recipe import Recipe, read_recipe
from traintime.train.records import EpochRecord, Start, StepRecord
from traintime.units import Interval

SHARES = (0.05, 0.10, 0.25, 0.50)
TQDM_SMOOTHING = 0.3
Event = tuple[float, StepRecord | EpochRecord]


@dataclass(frozen=True)
class Answer:
    """What was said of one run at one moment.

    Args:
        run: Its name.
        share: Of its duration that had passed.
        said_s: Total duration, by who said it.
        interval: Of the clock.
        total_s: The truth.
        disturbed: Whether another program burned a core in its middle.
    """

    run: str
    share: float
    said_s: Mapping[str, float]
    interval: Interval
    total_s: float
    disturbed: bool


def recorded(path: Path) -> list[dict[str, Any]]:
    """Return the runs of `record_runs.py`."""
    return json.loads(gzip.decompress(path.read_bytes()))["runs"]


def replay(run: Mapping[str, Any], shares: Sequence[float] = SHARES) -> Iterator[Answer]:
    """Yield what everyone says of a run at the moments."""
    recipe = read_recipe(**run["recipe"])
    forecast = Forecast.from_json(run["forecast"])
    clock, loop = Clock(recipe, forecast), _Tracked(recipe.epochs, forecast.steps_per_epoch)
    per_epoch = forecast.steps_per_epoch
    clock.on_start(Start(per_epoch, per_epoch * recipe.epochs, 0, 0.0))
    tqdm, mean = _Tqdm(per_epoch * recipe.epochs), _EpochMean(per_epoch * recipe.epochs)
    left, last = list(shares), (0, 0.0)
    for elapsed_s, record in _events(run, recipe, forecast):
        while left and elapsed_s > left[0] * run["total_s"]:
            plain = loop.eta()
            yield Answer(
                run["name"],
                left.pop(0),
                {
                    "traintime": clock.eta.finish_s.median,
                    "track()": plain.finish_s.median if plain else float("nan"),
                    "tqdm": tqdm.total_s(),
                    "Keras, Lightning": mean.total_s(),
                },
                clock.eta.finish_s,
                run["total_s"],
                run["disturbed"],
            )
        _tell(clock, loop, tqdm, mean, record, last)
        last = (record.step, elapsed_s)


def _tell(
    clock: Clock,
    loop: _Tracked,
    tqdm: _Tqdm,
    mean: _EpochMean,
    record: StepRecord | EpochRecord,
    last: tuple[int, float],
) -> None:
    step, seconds = record.step - last[0], record.elapsed_s - last[1]
    if isinstance(record, EpochRecord):
        clock.on_epoch(record)
        loop.on_boundary(loop.held_s + seconds)
        mean.start_epoch(record.step, record.elapsed_s)
        tqdm.wait(seconds)
        return
    clock.on_steps(record)
    loop.see(step, seconds)
    tqdm.see(step, seconds)
    mean.see(record.step, record.elapsed_s)


def _events(run: Mapping[str, Any], recipe: Recipe, forecast: Forecast) -> Iterator[Event]:
    """Yield windows and validations in the order of their time."""
    per_epoch = forecast.steps_per_epoch
    events: list[Event] = []
    before = (0, 0.0)
    for step, elapsed_s in run["windows"]:
        step_s = max(1e-9, (elapsed_s - before[1]) / max(1, step - before[0]))
        samples_per_s = recipe.batch_size / step_s
        record = StepRecord(step, step / per_epoch, 0.0, 0.0, samples_per_s, elapsed_s, step_s)
        events.append((elapsed_s, record))
        before = (step, elapsed_s)
    for epoch, elapsed_s, loss, accuracy in run["epochs"]:
        step = round(epoch) * per_epoch
        record = EpochRecord(round(epoch), step, 0.0, loss, accuracy, 0.0, elapsed_s)
        events.append((elapsed_s, record))
    yield from sorted(events, key=lambda event: event[0])


class _Tracked(LoopClock):
    """A loop under `track`, which counts an epoch's last step to what comes after it."""

    held_s = 0.0

    def see(self, steps: int, seconds: float) -> None:
        each_s = seconds / max(1, steps)
        is_last = self.steps_per_epoch is not None and self.step + steps >= self.steps_per_epoch
        for _ in range(steps - is_last):
            self.on_step(each_s)
        self.held_s = each_s if is_last else 0.0


class _Tqdm:
    """What tqdm says over all steps: bias-corrected moving averages of steps and of seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.elapsed_s = total, 0, 0.0
        self._steps = self._seconds = 0.0
        self._waited_s = 0.0

    def see(self, steps: int, seconds: float) -> None:
        self.done += steps
        self.elapsed_s += seconds
        seconds, self._waited_s = seconds + self._waited_s, 0.0
        self._steps += TQDM_SMOOTHING * (steps - self._steps)
        self._seconds += TQDM_SMOOTHING * (seconds - self._seconds)

    def wait(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self._waited_s += seconds

    def total_s(self) -> float:
        if not self._steps:
            return float("nan")
        return self.elapsed_s + (self.total - self.done) * self._seconds / self._steps


class _EpochMean:
    """Mean time of a step since the epoch began, for all steps that are left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._began = (0, 0.0)
        self._now = (0, 0.0)
        self._step_s = float("nan")

    def start_epoch(self, step: int, elapsed_s: float) -> None:
        self._began = self._now = (step, elapsed_s)

    def see(self, step: int, elapsed_s: float) -> None:
        self._now = (step, elapsed_s)
        if step > self._began[0]:
            self._step_s = (elapsed_s - self._began[1]) / (step - self._began[0])

    def total_s(self) -> float:
        return self._now[1] + (self.total - self._now[0]) * self._step_s
