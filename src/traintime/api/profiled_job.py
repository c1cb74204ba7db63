"""A run's job built again, to take steps of it and to keep nothing of them."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from traintime.api.job import KnownJob
from traintime.api.session import training_batches
from traintime.data.fetch import RawImages
from traintime.data.prepare import prepare
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.execution import Execution
from traintime.ledger.run_folder import RunFolder
from traintime.models.build import build
from traintime.recipe import Recipe
from traintime.train.checkpoints import Checkpoint, load_checkpoint
from traintime.train.progress import Progress
from traintime.train.step_profile import ProfiledJob, WatchedSteps


def begin_steps(
    folder: RunFolder, job: KnownJob, recipe: Recipe, execution: Execution, raw: RawImages
) -> tuple[WatchedSteps, str]:
    """Return where steps of a run come from, and in words whose weights they begin with.

    Args:
        folder: Of the run; only read.
        job: What it trains.
        recipe: With the epochs that were planned.
        execution: How it is computed.
        raw: Its data set.
    """
    keep_freed_memory()
    prepared = prepare(raw, recipe, job.facts)
    torch.manual_seed(recipe.seed)
    module = build(job.network, fused=execution.fused).to(execution.device)
    batches = training_batches(prepared, recipe, execution)
    profiled = ProfiledJob(recipe, execution, module, batches, len(prepared.train))
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


def newest_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """Return the newest whole checkpoint; unlike a run that goes on, nothing is cleaned up."""
    for path in sorted(folder.checkpoints.glob("step-*.safetensors"), reverse=True):
        try:
            return load_checkpoint(path)
        except ValueError:
            continue
    return None
