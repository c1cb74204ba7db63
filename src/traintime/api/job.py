"""From a recipe to everything that can be known before training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from traintime.api.advice import budget_advice
from traintime.api.listener import Listener
from traintime.api.machine import machine
from traintime.api.past_runs import conditions, earlier_runs, finished_pairs
from traintime.architecture import Network, check_model, network_for
from traintime.data.catalogue import (
    DEFAULT_IMAGE_SIZE,
    DataFacts,
    SplitSizes,
    check_augmentation,
    find,
    split_sizes,
)
from traintime.data.input_plan import IN_MEMORY, InputPlan
from traintime.data.reading_time import Reading, reading_time
from traintime.errors import InputError, MissingExtraError
from traintime.forecast.correction import correct
from traintime.forecast.forecast import Forecast
from traintime.forecast.input_rate import InputRate, gathered_core_s
from traintime.forecast.predict import Plan, forecast_job, plan_job, step_sigma
from traintime.forecast.trial import Trial
from traintime.hardware.profile import HardwareProfile
from traintime.hardware.usage import memory_left
from traintime.recipe import Recipe, read_recipe
from traintime.recipe.budget import refuse_past

RecipeLike = Recipe | str | Path | None


@dataclass(frozen=True)
class KnownJob:
    """A job before it runs.

    Args:
        recipe: What was asked for, with the data set's proper name.
        facts: Of the data set.
        network: What is trained.
        sizes: Of the parts of the data set.
        input: How its samples come to a step.
    """

    recipe: Recipe
    facts: DataFacts
    network: Network
    sizes: SplitSizes
    input: InputPlan = IN_MEMORY


def read_job(
    recipe: RecipeLike,
    fields: Mapping[str, Any],
    facts: DataFacts | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> KnownJob:
    """Check a recipe against what there is, before anything slow begins.

    Args:
        recipe: A recipe, the path of a YAML file, or None.
        fields: Recipe fields that win over it.
        facts: Of its data set, if they are known and are not to be looked up.
        say: Told if that takes time.

    Raises:
        InputError: Something in it is unknown or impossible.
    """
    if isinstance(recipe, Recipe):
        recipe = read_recipe(**{**recipe.model_dump(), **fields}) if fields else recipe
    else:
        recipe = read_recipe([str(recipe)] if recipe else [], **fields)
    facts = facts or _facts_of(recipe, say)
    recipe = recipe.model_copy(update={"data": facts.name})
    network = network_for(recipe, facts.shape, facts.num_classes)
    check_augmentation(facts, recipe)
    sizes = split_sizes(facts, recipe)
    _refuse_lonely_samples(recipe, sizes.train)
    return KnownJob(recipe, facts, network, sizes)


def _facts_of(recipe: Recipe, say: Callable[[str], None]) -> DataFacts:
    if recipe.table is None:
        return find(recipe.data, recipe.image_size or DEFAULT_IMAGE_SIZE)
    check_model(recipe)
    if find_spec("numpy") is None:
        raise MissingExtraError("Reading a table", "train", "numpy")
    from traintime.data.own_table import facts_of_prepared, prepared_table

    room_bytes = memory_left(os.getpid())[0]
    return facts_of_prepared(recipe.table, prepared_table(recipe, say, room_bytes).facts)


def _refuse_lonely_samples(recipe: Recipe, train: int) -> None:
    """Batch normalisation has no variance to divide by in a micro-batch of one sample."""
    if recipe.batch_norm and recipe.smallest_micro_batch(train) < 2:
        raise InputError(
            f"{train:,} samples in batches of {recipe.batch_size} and {recipe.accumulate} parts "
            "leave a micro-batch of one sample, and batch normalisation needs two. "
            "Type another batch_size, accumulate=1, or batch_norm=false"
        )


def forecast_known_job(
    job: KnownJob,
    profile: HardwareProfile,
    trial: Trial | None = None,
    startup_s: float | None = None,
) -> Forecast:
    """Return the forecast of a job on a device, corrected by the runs that it finished before.

    Args:
        job: What is trained.
        profile: What the device sustains.
        trial: Steps that were tried.
        startup_s: Seconds before the job itself begins; if None, what this process has before it.

    Raises:
        InputError: Its deadline is past, or too near for a single step.
    """
    if job.recipe.time_budget:
        refuse_past(job.recipe.time_budget)
    plan = plan_job(job.recipe, job.network, job.sizes, profile.device, profile)
    elapsed_s = trial.elapsed_s if trial else None
    is_prepared = elapsed_s is not None
    reading = None if is_prepared else reading_time(job.recipe, job.facts, job.input)
    rate = _input_rate(job, profile, plan, reading)
    compute_s, plan = plan.step.seconds, plan.fed(rate) if rate else plan
    if elapsed_s is not None:
        startup_s = elapsed_s
    elif startup_s is None:
        startup_s = startup_seconds(profile)
    under = conditions(job.recipe, plan.execution, plan.workload.graph.parameters, profile)
    pairs = finished_pairs(under)
    correction = correct(under, pairs, step_sigma(profile), profile.unsteadiness)
    earlier = earlier_runs(job.recipe, job.facts.fingerprint, under)
    forecast = forecast_job(
        job.recipe, plan, profile, startup_s, correction, reading, trial, earlier
    )
    said = rate.said(compute_s, job.recipe.batch_size) if rate else (job.input.said,)
    forecast = replace(forecast, assumptions=(*forecast.assumptions, *filter(None, said)))
    if job.recipe.budget is None:
        return forecast

    as_tried = forecast.correction if trial else None

    def other(fields: Mapping[str, Any]) -> tuple[Recipe, Forecast] | None:
        try:
            changed = read_job(None, fields, job.facts)
            planned = plan_job(
                changed.recipe, changed.network, changed.sizes, profile.device, profile
            )
            planned = planned.fed(rate) if rate else planned
            return changed.recipe, forecast_job(
                changed.recipe, planned, profile, startup_s, as_tried, reading
            )
        except InputError:
            return None

    return replace(forecast, advice=tuple(budget_advice(job.recipe, forecast, other)))


def startup_seconds(profile: HardwareProfile) -> float:
    """Return what this process needs before it can begin on a job."""
    return 0.0 if "torch" in sys.modules else profile.import_s


def _input_rate(
    job: KnownJob, profile: HardwareProfile, plan: Plan, reading: Reading | None
) -> InputRate | None:
    """Return how fast samples come that are not in memory; None for those that are."""
    if job.input.is_resident or reading is None:
        return None
    from_disk = job.input.cache == "disk"
    sample_bytes, left = job.facts.sample_bytes, memory_left(os.getpid())[0]
    all_bytes = sum((job.sizes.train, job.sizes.validation, job.sizes.test)) * sample_bytes
    # What the system keeps of the file in memory that is free, need not come from the disk.
    from_disk_share = max(0.0, 1 - left / all_bytes) if from_disk else 0.0
    return InputRate(
        plan=job.input,
        core_s=gathered_core_s(sample_bytes) if from_disk else reading.image_s,
        disk_s=from_disk_share * sample_bytes / profile.disk_bytes_per_s,
        cores=profile.machine.cores,
        shares_cores=plan.execution.device == "cpu",
    )


def planned_recipe(recipe: Recipe, forecast: Forecast) -> Recipe:
    """Return a recipe with the epochs that its budget leaves time for, if it has one."""
    return recipe.model_copy(update={"epochs": forecast.epochs}) if recipe.budget else recipe


def profile_for(job: KnownJob, listener: Listener) -> HardwareProfile:
    """Return what is known of the device that a job will run on."""
    return machine(job.recipe.device, listener=listener)
