"""A few steps of a job before its forecast is told: what they took is what the rest will take.

A run tries them on its own data. A forecast that is asked for steps has no data yet, and takes
random samples: their values change nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

import torch

from traintime.api.feed import Feed
from traintime.api.job import KnownJob
from traintime.data.prepare import PreparedParts, Samples, StoredSamples, TableSamples
from traintime.errors import InputError
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
MOST_STEPS = 50
LEAST_STEPS_OF_RUN = 100
"""A run of fewer steps is over about as soon as it can be tried."""
BATCHES = 16
"""That the steps go round in; as many as caches do not hold."""
WARM_STEPS = 2
"""Of those that are asked for, these do not count."""
LONGEST_S = 60.0
"""After so long no further step is begun, if the least that say anything are done."""


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
        timing = _time(job, forecast.execution, replace(prepared, train=some), budget_s, MOST_STEPS)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()  # the run itself will find out in which parts it fits
        return None
    return Trial(timing.median_s, timing.calls, perf_counter() - began_at)


def take_steps(job: KnownJob, forecast: Forecast, num_steps: int) -> Trial:
    """Take steps of a network of the same kind on random samples, and keep nothing of it.

    Args:
        job: What would be trained.
        forecast: Without them; says how the job is computed.
        num_steps: To take, the first of which only warm up.

    Raises:
        InputError: There is too little memory.
    """
    keep_freed_memory()
    with _unchanged_randomness(forecast.execution):
        prepared = _random_samples(job)
    try:
        timing = _time(job, forecast.execution, prepared, LONGEST_S, num_steps - WARM_STEPS)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()
        raise InputError(
            f"A step of {job.recipe.batch_size} samples does not fit into memory, so none was "
            "taken. Type a smaller batch_size=, accumulate=, or leave pilot= out"
        ) from error
    return Trial(timing.median_s, timing.calls)


def _random_samples(job: KnownJob) -> PreparedParts:
    """Return samples of the form of the job's, as many as its steps go round in."""
    facts = job.facts
    count = min(job.sizes.train, BATCHES * job.recipe.batch_size)
    labels = torch.randint(facts.num_classes, (count,))
    if facts.table:
        rows = TableSamples(torch.randn(count, *facts.shape), labels)
        return PreparedParts(rows, rows, rows, torch.zeros(0), torch.zeros(0))
    channels, height, width = facts.shape
    pixels = torch.randint(256, (count, height, width, channels), dtype=torch.uint8)
    images = Samples(pixels, labels)
    return PreparedParts(images, images, images, torch.zeros(channels), torch.ones(channels))


def _time(
    job: KnownJob,
    execution: Execution,
    prepared: PreparedParts,
    budget_s: float,
    most_steps: int,
) -> Timing:
    with _unchanged_randomness(execution):
        module = build(job.network, fused=execution.fused).to(execution.device)
        batches = Feed(prepared, job.recipe, execution).training()
        return time_steps(module, batches, job.recipe, execution, budget_s, most_steps)


@contextmanager
def _unchanged_randomness(execution: Execution) -> Generator[None]:
    """Leave random states as they are: a run draws what it would have drawn."""
    with torch.random.fork_rng([execution.device] if execution.device != "cpu" else []):
        yield
