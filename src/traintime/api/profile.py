"""The profile verb: where each millisecond of a run's step goes, and what to change."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from traintime.api.input_plan import with_input
from traintime.api.job import KnownJob, planned_recipe, profile_for, read_job
from traintime.api.listener import Listener
from traintime.api.run_data import load_data, noted_facts
from traintime.api.runs import find_run, refuse_another_device
from traintime.api.train import require_torch
from traintime.errors import InputError, RunFolderError
from traintime.forecast.forecast import Forecast
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import read_recipe

if TYPE_CHECKING:
    from traintime.report.run_profile import RunProfile
    from traintime.report.step_costs import Measured
    from traintime.train.step_profile import WatchedSteps

BUSY_TOO = 0.1
"""Share of the time that others took, from which trying numbers of threads says nothing."""


@dataclass(frozen=True)
class _Recorded:
    """What a run says of its own time."""

    step_s: float | None
    between_s: float
    stages_s: Mapping[str, float]
    steps: int


def profile_run(
    name: str,
    *,
    steps: int | None = None,
    anyway: bool = False,
    listener: Listener | None = None,
) -> RunProfile:
    """Take steps of a run's job in this process, and say where their time goes.

    The run's training state stays as it is; what was found is kept as profile.json in its folder.

    Args:
        name: Of the run, its path, or "latest".
        steps: To measure; None takes as many as fit into five seconds, and at least ten.
        anyway: Profile even while the run is being trained, which slows both.
        listener: Told what is being done.

    Raises:
        RunFolderError: There is no such run, it is being trained, or it ran on a device that this
            machine does not have.
        InputError: Fewer than one step was asked for.
    """
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps} measures nothing; type --steps 10 or more, or leave it")
    folder = find_run(name)
    if folder.is_running and not anyway:
        raise RunFolderError(
            f"The run '{folder.name}' is being trained, and profiling it now would slow both. "
            f"Wait for it, or stop it first: traintime runs stop {folder.name}; "
            f"to profile beside it, type: traintime runs profile {folder.name} --anyway"
        )
    require_torch()
    asked = read_recipe(**folder.read_recipe())
    job = read_job(asked, {}, noted_facts(folder, asked))
    forecast = Forecast.from_json(folder.read_json("forecast"))
    refuse_another_device(forecast.execution.device, folder, "Profile")
    job = with_input(job, forecast.execution.device, resumed=True)
    found = _profile(folder, job, forecast, steps, listener or Listener())
    folder.write_json("profile", found.to_json())
    return found


def _profile(
    folder: RunFolder, job: KnownJob, forecast: Forecast, steps: int | None, listener: Listener
) -> RunProfile:
    from traintime.api.profiled_job import begin_steps, feed_of
    from traintime.report.step_costs import Measured
    from traintime.train.op_profile import measure_ops, named_layers
    from traintime.train.step_profile import measure_steps
    from traintime.workload.count import count_operations

    recipe, machine = planned_recipe(job.recipe, forecast), profile_for(job, listener)
    recorded = _recorded(folder)
    raw = load_data(job, folder, listener, resume=True)
    with closing(feed_of(job, forecast.execution, raw, listener)) as feed:
        watched, weights = begin_steps(folder, job, recipe, forecast.execution, feed)
        listener.say("Taking steps, to see what each part of them takes ...")
        times = measure_steps(watched, steps)
        listener.say("Taking a few more, to see each operation ...")
        layers = named_layers(watched.job.module)
        measured = Measured(
            times=times,
            ops=measure_ops(watched, [layer for _, layer in layers], times),
            places=tuple(place for place, _ in layers),
            graph=count_operations(job.network, recipe, fused=forecast.execution.fused),
            recipe=recipe,
            execution=forecast.execution,
            machine=machine,
            forecast=forecast,
            run_step_s=recorded.step_s,
            between_s=recorded.between_s,
            stages_s=recorded.stages_s,
            steps=recorded.steps,
        )
        return _told(folder.name, job, measured, watched, weights)


def _told(
    run: str, job: KnownJob, measured: Measured, watched: WatchedSteps, weights: str
) -> RunProfile:
    import torch

    from traintime.api.profile_changes import find_changes
    from traintime.report import step_costs
    from traintime.report.run_profile import RunProfile
    from traintime.report.step_limit import name_limit
    from traintime.report.terminal import title

    times, contention = measured.times, measured.times.contention
    limited_by, limit = name_limit(measured)
    around = {step_costs.BETWEEN: measured.between_s} if measured.between_s > 0 else {}
    stages = {k: s for k, s in measured.stages_s.items() if k in STAGES}
    return RunProfile(
        run=run,
        title=f"{title(measured.recipe)}, batches of {measured.recipe.batch_size}",
        execution=str(measured.execution),
        threads=torch.get_num_threads(),
        weights=weights,
        steps_measured=times.num_steps,
        step_s=times.step_s,
        low_s=times.low_s,
        high_s=times.high_s,
        run_step_s=measured.run_step_s,
        forecast_step_s=measured.forecast.step_time_s.median,
        parts=step_costs.shares({**times.phases_s, **around}),
        stages=step_costs.shares({STAGES[k]: s for k, s in stages.items()}) if any(stages) else (),
        kinds=step_costs.kind_costs(measured),
        layers=step_costs.layer_costs(measured),
        limited_by=limited_by,
        limit=limit,
        changes=find_changes(job, measured, limited_by, _thread_timer(measured, watched)),
        waited_share=contention.waited_share,
        cores_used=contention.cores_used,
        load=contention.load,
    )


STAGES = {"train": "training", "validate": "validation", "checkpoint": "checkpoints"}


def _thread_timer(measured: Measured, watched: WatchedSteps) -> Callable[[int], float | None]:
    """Return what measures a step with another number of threads, where that says something."""
    from traintime.train.step_profile import seconds_with_threads

    def timer(threads: int) -> float | None:
        quiet = measured.times.contention.waited_share < BUSY_TOO
        if not quiet or measured.execution.device != "cpu" or measured.execution.compile:
            return None
        return seconds_with_threads(watched, threads, measured.times.step_s)

    return timer


def _recorded(folder: RunFolder) -> _Recorded:
    """Read what a run took, finished or not."""
    records = list(folder.records("steps"))
    if folder.is_finished:
        result = folder.read_json("result")
        stages, num_steps = dict(result["seconds"]), int(result["steps"])
    else:
        stages, num_steps = _stages_so_far(folder)
    # The first window of a process warms caches and allocators up.
    own = [float(record["step_time_s"]) for record in records[1:]]
    return _Recorded(
        step_s=statistics.median(own) if own else None,
        between_s=_between(records),
        stages_s=stages,
        steps=num_steps,
    )


def _stages_so_far(folder: RunFolder) -> tuple[dict[str, float], int]:
    from traintime.api.profiled_job import newest_checkpoint

    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        return {}, 0
    return dict(checkpoint.state["seconds"]), int(checkpoint.state["step"])


def _between(records: list[dict[str, Any]]) -> float:
    """Return the seconds per step between two windows: records, display and clock.

    Only windows of one epoch follow each other without a validation; the median leaves out those
    with a checkpoint before them. There is a gap for each record, however many steps it is of.
    """
    gaps_s: list[float] = []
    for before, after in pairwise(records):
        num_steps = after["step"] - before["step"]
        is_same_epoch = len({math.ceil(r["epoch"] - ROUNDING) for r in (before, after)}) == 1
        if num_steps > 0 and is_same_epoch:
            passed_s = after["elapsed_s"] - before["elapsed_s"]
            gaps_s.append(max(0.0, passed_s - num_steps * after["step_time_s"]))
    if len(gaps_s) < LEAST_GAPS:
        return 0.0
    return statistics.median(gaps_s) * len(records) / records[-1]["step"]


ROUNDING = 1e-6
LEAST_GAPS = 5
"""The first one of a process holds what happens once."""
