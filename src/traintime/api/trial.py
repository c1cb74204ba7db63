"""A few steps of a job before its forecast is told: what they took is what the rest will take."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import torch

from traintime.api.feed import Feed
from traintime.api.job import KnownJob
from traintime.data.prepare import PreparedParts, StoredSamples
from traintime.forecast.forecast import Forecast
from traintime.forecast.trial import Trial
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.execution import Execution
from traintime.hardware.timer import Timing
from traintime.models.build import build
from traintime.train.out_of_memory import free_memory, is_out_of_memory
from traintime.train.trial import time_steps

SHARE_OF_RUN = 0.02
LEAST_S, MOST_S = 0.15, 3.0
"""Seconds that trying takes: a share of the run's, within these."""
LEAST_STEPS_OF_RUN = 100
"""A run of fewer steps is over about as soon as it can be tried."""
BATCHES = 16
"""That the steps go round in; as many as caches do not hold."""


def try_steps(
    job: KnownJob, forecast: Forecast, prepared: PreparedParts, began_at: float
) -> Trial | None:
    """Take a few steps of a network of the same kind, and keep nothing of it.

    Args:
        job: What will be trained.
        forecast: Without them; says how the job is computed.
        prepared: Its data.
        began_at: `perf_counter()` when the job began.

    Returns:
        What they took; None where they would tell nothing or cost too much: samples that are not
        in memory, compiled steps, very short runs, too little memory for two networks.
    """
    train, steps = prepared.train, forecast.epochs * forecast.steps_per_epoch
    if isinstance(train, StoredSamples) or forecast.execution.compile or steps < LEAST_STEPS_OF_RUN:
        return None
    some = train.first(BATCHES * job.recipe.batch_size)
    budget_s = min(MOST_S, max(LEAST_S, SHARE_OF_RUN * forecast.total_s.median))
    keep_freed_memory()
    try:
        timing = _time(job, forecast.execution, replace(prepared, train=some), budget_s)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()  # the run itself will find out in which parts it fits
        return None
    return Trial(perf_counter() - began_at, timing.median_s, timing.calls)


def _time(job: KnownJob, execution: Execution, prepared: PreparedParts, budget_s: float) -> Timing:
    """Leave random states as they are: the run draws what it would have drawn."""
    with torch.random.fork_rng([execution.device] if execution.device != "cpu" else []):
        module = build(job.network, fused=execution.fused).to(execution.device)
        batches = Feed(prepared, job.recipe, execution).training()
        return time_steps(module, batches, job.recipe, execution, budget_s)
