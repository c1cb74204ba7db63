"""What would make a profiled run faster: priced by the forecast, or measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from traintime.api.job import KnownJob, forecast_known_job, read_job
from traintime.errors import InputError
from traintime.report.run_profile import Change
from traintime.report.step_costs import Measured
from traintime.units import format_percent

WORTH_SAYING = 1.05
"""Times as fast, from which a change is named."""
MOST_CHANGES = 6
RARE_S = 30.0
"""Seconds between two checkpoints at which they cost next to nothing."""
NOTICED = 0.03
"""Share of the time from which a stage is worth shortening."""
RELEARNS = "learns otherwise: compare what both reach"


def find_changes(
    job: KnownJob,
    measured: Measured,
    limited_by: str,
    step_with_threads: Callable[[int], float | None],
) -> tuple[Change, ...]:
    """Return what to type and what it brings, the best first.

    Args:
        job: Of the run.
        measured: What was measured of it.
        limited_by: What takes most.
        step_with_threads: Measures a step with another number of threads; None if it cannot.
    """
    known = [
        *_priced(job, measured),
        *_threads(measured, step_with_threads),
        *_checkpoints(measured),
        *_validation(job, measured),
    ]
    worth = [change for change in known if change.factor and change.factor >= WORTH_SAYING]
    ordered = sorted(worth, key=lambda change: -(change.factor or 0.0))[:MOST_CHANGES]
    return (*ordered, *_untold(measured, limited_by))


def _priced(job: KnownJob, measured: Measured) -> Iterator[Change]:
    """Yield what the forecast says of other ways to compute, against what it says of this one."""
    execution = measured.execution
    same = {
        **job.recipe.model_dump(exclude={"budget", "target"}),
        "epochs": measured.forecast.epochs,
        "device": execution.device,
        "precision": execution.precision,
        "memory_format": execution.memory_format,
        "convolution": "fused" if execution.fused else "native",
    }
    now_s = _sample_seconds(same, job, measured)
    if now_s is None:
        return
    for fields, note in _alternatives(measured):
        other_s = _sample_seconds({**same, **fields}, job, measured)
        if other_s:
            words = " ".join(f"{name}={value}" for name, value in fields.items())
            yield Change(words, now_s / other_s, "forecast", note)


def _alternatives(measured: Measured) -> Iterator[tuple[Mapping[str, Any], str]]:
    recipe, execution = measured.recipe, measured.execution
    rounding = "rounds to 8 bits of precision" if execution.precision == "fp32" else ""
    precision = {"precision": "bf16" if execution.precision == "fp32" else "fp32"}
    layouts = {"contiguous", "channels_last"} - {execution.memory_format}
    layout = {"memory_format": layouts.pop(), "convolution": "native"}
    yield precision, rounding
    yield layout, ""
    yield {**precision, **layout}, rounding
    if not execution.fused:
        yield {"convolution": "fused", "memory_format": "contiguous"}, ""
    for factor in (2, 4):
        yield {"batch_size": factor * recipe.batch_size}, RELEARNS
    if recipe.optimizer == "muon":
        yield {"optimizer": "adamw", "lr": 0.002}, RELEARNS


def _sample_seconds(fields: Mapping[str, Any], like: KnownJob, measured: Measured) -> float | None:
    """Return the forecast seconds of a step for one sample; None for what cannot be done."""
    try:
        job = replace(read_job(None, fields, like.facts), input=like.input)
        # Finished runs correct the forecast of one job more than that of another.
        step_s = forecast_known_job(job, measured.machine).uncorrected_step_s
    except InputError:
        return None
    return step_s / job.recipe.batch_size


def _threads(
    measured: Measured, step_with_threads: Callable[[int], float | None]
) -> Iterator[Change]:
    import torch

    for threads in {1, measured.machine.machine.cores} - {torch.get_num_threads()}:
        step_s = step_with_threads(threads)
        if step_s:
            yield Change(f"OMP_NUM_THREADS={threads}", measured.times.step_s / step_s, "measured")


def _checkpoints(measured: Measured) -> Iterator[Change]:
    spent_s, total_s = measured.stages_s.get("checkpoint", 0.0), _training_s(measured)
    every_s = measured.recipe.checkpoint_every_s
    if total_s and every_s < RARE_S and spent_s > NOTICED * total_s:
        saved_s = spent_s * (1 - every_s / RARE_S)
        note = f"checkpoints took {format_percent(spent_s / total_s, 0)} of the run"
        yield Change(
            f"checkpoint_every_s={RARE_S:g}", total_s / (total_s - saved_s), "measured", note
        )


def _validation(job: KnownJob, measured: Measured) -> Iterator[Change]:
    spent_s, total_s = measured.stages_s.get("validate", 0.0), _training_s(measured)
    recipe = measured.recipe
    held_out = recipe.validate_on == "validation" and job.facts.test_samples is not None
    if total_s and held_out and spent_s > NOTICED * total_s:
        yield Change(
            f"validation={recipe.validation / 2:g}",
            total_s / (total_s - spent_s / 2),
            "measured",
            "half as many samples to judge by, so the accuracy is known less exactly",
        )


def _training_s(measured: Measured) -> float:
    return sum(measured.stages_s.get(name, 0.0) for name in ("train", "validate", "checkpoint"))


def _untold(measured: Measured, limited_by: str) -> Iterator[Change]:
    """Yield what may help where neither a forecast nor a measurement tells."""
    if limited_by == "dispatch" and not measured.execution.compile and shutil.which("g++"):
        yield Change(
            "compile=true",
            None,
            "not forecast",
            "joins small operations; compiling takes time first. Train it, and profile that run",
        )
