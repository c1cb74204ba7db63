"""A run's job built again, to take steps of it and to keep nothing of them."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from safetensors.torch import load_file

from traintime.api.feed import Feed, open_feed
from traintime.api.job import KnownJob
from traintime.api.listener import Listener
from traintime.data.fetch import RawImages
from traintime.data.own_table import RawTable
from traintime.data.prepare import prepare
from traintime.errors import InputError
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.execution import Execution
from traintime.ledger.run_folder import RunFolder
from traintime.models.build import build
from traintime.recipe import Recipe
from traintime.train.checkpoints import Checkpoint, load_checkpoint
from traintime.train.progress import Progress
from traintime.train.step_profile import ProfiledJob, WatchedSteps


def begin_steps(
    folder: RunFolder, job: KnownJob, recipe: Recipe, execution: Execution, feed: Feed
) -> tuple[WatchedSteps, str]:
    """Return where steps of a run come from, and in words whose weights they begin with.

    Args:
        folder: Of the run; only read.
        job: What it trains.
        recipe: With the epochs that were planned.
        execution: How it is computed.
        feed: Where its batches come from.
    """
    keep_freed_memory()
    torch.manual_seed(recipe.seed)
    module = build(job.network, fused=execution.fused).to(execution.device)
    profiled = ProfiledJob(recipe, execution, module, feed.training(), feed.train_samples)
    weights = folder.path / "model.safetensors"
    if weights.is_file():
        module.load_state_dict(load_file(weights))
        return WatchedSteps(profiled, {}), "the trained weights"
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        return WatchedSteps(profiled, {}), "fresh weights"
    progress = Progress.from_json(dict(checkpoint.state))
    where = f"the weights of step {progress.step:,}"
    return WatchedSteps(profiled, checkpoint.tensors, progress), where


def feed_of(
    job: KnownJob, execution: Execution, raw: RawImages | RawTable, listener: Listener
) -> Feed:
    """Return where the batches of a run's job come from; faults are said, and nothing is noted.

    Args:
        job: What the run trains.
        execution: How it is computed.
        raw: Its data set.
        listener: Told of faults.
    """

    def refuse(row: int, why: str) -> int:
        raise InputError(f"Image {row:,} of the run cannot be read ({why}), so it is not profiled")

    return open_feed(
        job,
        prepare(raw, job.recipe, job.facts),
        execution,
        tell=lambda _, line: listener.say(line),
        stand_in=lambda _: refuse,
        waiting=nullcontext,
    )


def newest_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """Return the newest whole checkpoint; unlike a run that goes on, nothing is cleaned up."""
    for path in sorted(folder.checkpoints.glob("step-*.safetensors"), reverse=True):
        try:
            return load_checkpoint(path)
        except ValueError:
            continue
    return None
