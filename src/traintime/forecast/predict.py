"""From a workload and a device to a forecast of the whole job."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from traintime.architecture import Network
from traintime.architecture.fusing import can_be_fused
from traintime.data.catalogue import SplitSizes, stored_bytes
from traintime.data.reading_time import Reading
from traintime.errors import InputError
from traintime.forecast.convergence import Curve, expected_curve
from traintime.forecast.correction import Correction
from traintime.forecast.device_parameters import RUNNING
from traintime.forecast.earlier_runs import EarlierRun, with_earlier
from traintime.forecast.forecast import Forecast, mixture
from traintime.forecast.input_rate import InputRate
from traintime.forecast.kind_share import KindShare
from traintime.forecast.memory import predict_memory
from traintime.forecast.step_time import StepTime, predict_inference, predict_step
from traintime.forecast.time_budget import budget_line, fitting_epochs, with_all_time_used
from traintime.forecast.trial import Trial
from traintime.hardware.execution import Execution
from traintime.hardware.profile import HardwareProfile
from traintime.recipe import Recipe
from traintime.recipe.recipe import Target
from traintime.units import Interval, format_duration, format_percent
from traintime.workload.count import count_operations
from traintime.workload.op_graph import Workload

SIGMA = {"measured on this machine": 0.13, "specs only": 0.7}
"""Of the logarithm of a step's time, by evidence; `benchmarks/forecast_check.py` measures it."""
MEMORY_SIGMA = 0.15
UNSTEADY = 0.1
"""σ of a processor's rates from which it is said."""
STAGE_SIGMA = 0.3
"""Of the short stages, which are mostly start-up costs."""
HASHED_BYTES_PER_S = 1.0e9
"""Checking and splitting the cached data."""
SETUP_S, FINISH_S = 0.1, 0.02
"""Building network and records; saving the trained weights."""
UNUSED_SHARE = 0.01
"""Of a budget, beside a step, a validation and a save; `benchmarks/deadline.py` shows what is."""
COMPILE_S = 15.0
LEAST_STEPS = 10
"""Steps that the shortest budget has to hold."""
VALIDATION_BATCH = 1000


@dataclass(frozen=True)
class Plan:
    """How a job will be computed, and what that was chosen by."""

    execution: Execution
    workload: Workload
    step: StepTime
    picks: tuple[str, ...]
    input_rate: InputRate | None = None
    """Of samples that are not in memory."""

    def fed(self, rate: InputRate) -> Plan:
        """Return the plan for samples that come at a rate."""
        step = rate.fed(self.step, self.workload.batch_size)
        return replace(self, step=step, input_rate=rate)


def step_sigma(profile: HardwareProfile) -> float:
    """Return σ of the logarithm of a step's time, if nothing like it was run here."""
    return math.hypot(SIGMA[profile.evidence], profile.unsteadiness)


def plan_job(
    recipe: Recipe, network: Network, sizes: SplitSizes, device: str, profile: HardwareProfile
) -> Plan:
    """Decide everything that the recipe leaves to the machine, by predicted time of a step.

    Raises:
        InputError: The recipe asks for a combination that cannot be computed.
    """
    _refuse_impossible(recipe, network, device)
    plans = [
        plan
        for execution in _candidates(recipe, network, device, profile)
        if (plan := _plan(recipe, network, sizes, execution, profile)) is not None
    ]
    if not plans:
        raise InputError(
            f"Nothing is known of {device} in precision={recipe.precision}; "
            "type: traintime machine --measure"
        )
    best = min(plans, key=lambda plan: plan.step.seconds)
    return replace(best, picks=tuple(_explain(recipe, best, plans)))


def _refuse_impossible(recipe: Recipe, network: Network, device: str) -> None:
    if recipe.convolution != "fused":
        return
    if device != "cpu":
        raise InputError(f"Fused convolutions are for the CPU, not {device}; type device=cpu")
    if recipe.memory_format == "channels_last":
        raise InputError(
            "Fused convolutions are computed on contiguous images; leave out "
            "memory_format, or type memory_format=contiguous"
        )
    if not can_be_fused(network.layers, network.input_shape):
        raise InputError(
            f"{network.name} has no convolution, ReLU and 2×2 pooling in a row with few channels "
            "that could be fused; type convolution=native"
        )


def _candidates(
    recipe: Recipe, network: Network, device: str, profile: HardwareProfile
) -> Iterator[Execution]:
    images = any(
        op.kind == "convolution" for op in count_operations(network, recipe, fused=False).ops
    )
    # A guessed rate is no ground to give up precision.
    measured = profile.evidence == "measured on this machine"
    precisions = ("fp32", "bf16") if measured else ("fp32",)
    formats = ("contiguous", "channels_last") if images else ("contiguous",)
    fusable = device == "cpu" and can_be_fused(network.layers, network.input_shape)
    for precision in precisions if recipe.precision == "auto" else (recipe.precision,):
        for layout in formats if recipe.memory_format == "auto" else (recipe.memory_format,):
            if recipe.convolution != "fused":
                yield Execution(device, precision, layout, False, recipe.compile)
            if recipe.convolution != "native" and fusable and layout == "contiguous":
                yield Execution(device, precision, layout, True, recipe.compile)


def _plan(
    recipe: Recipe,
    network: Network,
    sizes: SplitSizes,
    execution: Execution,
    profile: HardwareProfile,
) -> Plan | None:
    graph = count_operations(network, recipe, fused=execution.fused)
    workload = Workload(
        graph=graph,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        train_samples=sizes.train,
        validation_samples=sizes.validation,
        test_samples=sizes.test,
        sample_bytes=stored_bytes(network.input_shape) + 8,
    )
    step = predict_step(graph, recipe.batch_size, execution, profile)
    return Plan(execution, workload, step, ()) if step else None


def _explain(recipe: Recipe, best: Plan, plans: Sequence[Plan]) -> Iterator[str]:
    """Say what each `auto` became, against the best plan that differs in it."""
    choices: tuple[tuple[str, bool, Callable[[Execution], str]], ...] = (
        ("precision", recipe.precision == "auto", lambda e: e.precision),
        ("memory format", recipe.memory_format == "auto", lambda e: e.memory_format),
        ("convolution", recipe.convolution == "auto", lambda e: "fused" if e.fused else "native"),
    )
    for name, is_auto, value in choices:
        ours = value(best.execution)
        others = [plan for plan in plans if value(plan.execution) != ours]
        if not is_auto or not others:
            continue
        other = min(others, key=lambda plan: plan.step.seconds)
        yield (
            f"{name}: {ours} ({format_duration(best.step.seconds)} a step; "
            f"{value(other.execution)} {format_duration(other.step.seconds)})"
        )


def forecast_job(
    recipe: Recipe,
    plan: Plan,
    profile: HardwareProfile,
    startup_s: float,
    correction: Correction | None = None,
    reading: Reading | None = None,
    trial: Trial | None = None,
    earlier: Sequence[EarlierRun] = (),
) -> Forecast:
    """Return the forecast of a planned job.

    Args:
        recipe: What was asked for.
        plan: How it will be computed.
        profile: What the device sustains.
        startup_s: Seconds before the job itself begins, such as importing torch; once its data is
            prepared, all that has passed.
        correction: Of the training steps, by finished runs; other stages stay as they are.
        reading: What reading images of one's own will take; None for a known data set.
        trial: Steps that were tried; they outweigh finished runs.
        earlier: Runs of the very recipe, the newest first: they say how it learns.
    """
    startup_s += reading.seconds if reading else 0.0
    sigma = step_sigma(profile)
    correction = correction or Correction.none(sigma)
    if trial:
        correction = trial.correction(plan.step.seconds, profile.unsteadiness)
    step = Interval.lognormal(plan.step.seconds * correction.factor, correction.sigma)
    budget, most_epochs, fitting = recipe.time_budget, recipe.epochs, math.inf
    spent_s = (trial.elapsed_s or 0.0) if trial else 0.0
    budget_s = math.inf
    if budget:
        budget_s = spent_s + budget.left_s(spent_s, datetime.now().astimezone())
    if budget:
        recipe, plan, fitting = _fitted(recipe, plan, step, profile, startup_s, budget_s, trial)
    ends_by_time = fitting < most_epochs
    workload = plan.workload
    stages = _stages(plan, step, profile, startup_s, trial)
    if ends_by_time:
        stages = with_all_time_used(stages, budget_s)
    metric = recipe.goal.metric if recipe.goal else recipe.monitor
    curve = with_earlier(expected_curve(recipe, metric), earlier, recipe.epochs, metric)
    goal = _goal(recipe, workload.validation_samples)
    arrivals = curve.arrivals(goal) if curve and goal else None
    shares = [epoch / recipe.epochs for epoch in range(1, recipe.epochs + 1)]
    ends = [_finish(stages, share, step.sigma, sigma).capped(budget_s) for share in shares]
    if ends_by_time:
        unused_s = stages["validate"].median / recipe.epochs + step.high + FINISH_S
        unused_s += UNUSED_SHARE * budget_s
        ends[-1] = Interval(budget_s, max(budget_s / 2, budget_s - unused_s), budget_s)
    chance = sum(arrivals) if arrivals is not None else None
    memory = predict_memory(
        workload,
        plan.execution,
        recipe.accumulate,
        bool(recipe.ema) + bool(recipe.patience),
        is_saved=ends[-1].median > recipe.checkpoint_every_s,
        input_rate=plan.input_rate,
    )
    return Forecast(
        evidence=RUNNING if trial else profile.evidence,
        assumptions=(
            *_basis(profile, plan, correction, reading, trial),
            *_assumptions(recipe, curve, chance),
            *([budget_line(budget, fitting)] if ends_by_time and budget else []),
        ),
        execution=plan.execution,
        picks=plan.picks,
        total_s=_total(ends, arrivals).capped(budget_s),
        time_to_target_s=_time_to_target(ends, arrivals, stages["evaluate"].median),
        chance_of_target=chance,
        time_to_end_s=ends[-1],
        stages_s=stages,
        step_time_s=step,
        step_by_kind=_by_kind(plan.step, correction.factor),
        peak_memory_bytes=Interval.lognormal(sum(memory.values()), MEMORY_SIGMA),
        memory_by_part=memory,
        parameters=workload.graph.parameters,
        steps_per_epoch=workload.steps_per_epoch,
        epochs=recipe.epochs,
        correction=correction,
        curve=curve,
    )


def _goal(recipe: Recipe, validation_samples: int) -> Target | None:
    """Return what validations have to reach, for the target to hold with the confidence asked for.

    Raises:
        InputError: Not even a validation without mistakes would do.
    """
    goal = recipe.goal
    if goal is None or goal.metric != "accuracy":
        return goal  # what a loss varies by is not known before
    deviation = math.sqrt(goal.value * (1 - goal.value) / max(1, validation_samples))
    best = goal.beyond(recipe.margin(deviation))
    if best.value > 1:
        raise InputError(
            f"Not even {validation_samples:,} validation samples without a mistake would tell with "
            f"confidence={recipe.confidence:g} that {goal} holds. Type a lower confidence, a lower "
            "target, or a larger share for validation="
        )
    return best


def _fitted(
    recipe: Recipe,
    plan: Plan,
    step: Interval,
    profile: HardwareProfile,
    startup_s: float,
    budget_s: float,
    trial: Trial | None,
) -> tuple[Recipe, Plan, float]:
    """Return recipe and plan with as many epochs as fit into a budget, at least one, and how many.

    Raises:
        InputError: Not even one step would be done in time.
    """
    one = replace(plan, workload=replace(plan.workload, epochs=1))
    stages = _stages(one, step, profile, startup_s, trial)
    prepare_s, validate_s = stages["prepare"].median, stages["validate"].median
    finish_s = stages["evaluate"].median
    per_epoch = plan.workload.steps_per_epoch
    compile_s = COMPILE_S if plan.execution.compile else 0.0
    left_s = budget_s - prepare_s - compile_s
    fitting = fitting_epochs(left_s, per_epoch, step.median, validate_s, finish_s)
    if fitting * per_epoch < 1:
        high_s = sum(stages[name].high for name in ("prepare", "validate", "evaluate"))
        least_s = math.ceil(high_s + compile_s + LEAST_STEPS * step.high)
        raise InputError(
            f"In {format_duration(max(0.0, budget_s))} not one step of {recipe.model} on "
            f"{recipe.data_name} would be done: preparing takes about "
            f"{format_duration(prepare_s)}, validation and test "
            f"{format_duration(validate_s + finish_s)}, a step "
            f"{format_duration(step.median)}. Type budget={least_s}s or more"
        )
    epochs = min(recipe.epochs, max(1, round(fitting)))
    fitted = recipe.model_copy(update={"epochs": epochs})
    return fitted, replace(plan, workload=replace(plan.workload, epochs=epochs)), fitting


def _by_kind(step: StepTime, factor: float) -> tuple[KindShare, ...]:
    return tuple(
        KindShare(kind, seconds * factor, seconds / step.seconds)
        for kind, seconds in step.by_kind().items()
        if seconds > 0
    )


def _stages(
    plan: Plan,
    step: Interval,
    profile: HardwareProfile,
    startup_s: float,
    trial: Trial | None = None,
) -> Mapping[str, Interval]:
    work, rate = plan.workload, plan.input_rate
    judge_sigma = max(step_sigma(profile), STAGE_SIGMA)
    # What tried steps say of the machine holds for judging too; what finished runs say, may not.
    pace = step.median / plan.step.seconds if trial else 1.0

    def judge(samples: int) -> float:
        seconds = predict_inference(
            work.graph, samples, plan.execution, profile, min(samples, VALIDATION_BATCH)
        )
        return pace * (rate.together_s(seconds, samples) if rate else seconds)

    read_bytes = 0 if rate else work.resident_bytes
    reading_s = read_bytes * (1 / profile.disk_bytes_per_s + 1 / HASHED_BYTES_PER_S)
    compile_s = COMPILE_S if plan.execution.compile else 0.0
    train_s = step.median * work.steps_per_epoch * work.epochs + compile_s
    validate_s = judge(work.validation_samples) * work.epochs
    evaluate_s = judge(work.test_samples) + FINISH_S
    is_prepared = trial is not None and trial.elapsed_s is not None
    prepare_s = startup_s + SETUP_S + (0.0 if is_prepared else reading_s)
    return {
        "prepare": Interval.lognormal(prepare_s, STAGE_SIGMA),
        "train": Interval.lognormal(train_s, step.sigma),
        "validate": Interval.lognormal(validate_s, judge_sigma),
        "evaluate": Interval.lognormal(evaluate_s, judge_sigma),
    }


def _finish(
    stages: Mapping[str, Interval], share: float, step_sigma: float, sigma: float
) -> Interval:
    """Return the time until the result is there if training ends after a share of its epochs.

    Args:
        stages: Of the whole job.
        share: Of its epochs.
        step_sigma: Of training steps, as finished runs leave it.
        sigma: Of what no run corrects.
    """
    parts = {
        "prepare": stages["prepare"].median,
        "train": stages["train"].median * share,
        "validate": stages["validate"].median * share,
        "evaluate": stages["evaluate"].median,
    }
    total = sum(parts.values())
    # Training is wrong as a whole; the short stages add their own, independent error.
    trained = parts["train"] * step_sigma + parts["validate"] * sigma
    short = math.hypot(parts["prepare"], parts["evaluate"]) * STAGE_SIGMA
    return Interval.lognormal(total, math.hypot(trained, short) / total)


def _total(ends: Sequence[Interval], arrivals: Sequence[float] | None) -> Interval:
    if arrivals is None:
        return ends[-1]
    parts = list(zip(arrivals, ends, strict=True))
    return mixture([*parts, (max(0.0, 1 - sum(arrivals)), ends[-1])])


def _time_to_target(
    ends: Sequence[Interval], arrivals: Sequence[float] | None, evaluate_s: float
) -> Interval | None:
    if arrivals is None or sum(arrivals) < 0.01:
        return None
    before_test = [
        Interval.lognormal(
            end.median - evaluate_s, end.sigma * end.median / (end.median - evaluate_s)
        )
        for end in ends
    ]
    return mixture(list(zip(arrivals, before_test, strict=True)))


def _basis(
    profile: HardwareProfile,
    plan: Plan,
    correction: Correction,
    reading: Reading | None,
    trial: Trial | None,
) -> Iterator[str]:
    """Yield what the times stand on."""
    if trial:
        yield trial.said(plan.step.seconds)
        if trial.elapsed_s is None:
            yield reading.said if reading else IN_CACHE
        return
    if profile.evidence == "specs only":
        yield "rates scaled from another processor by cores and clock; `traintime machine` measures"
    else:
        busy = f"rates measured on {profile.measured_on}; the machine is as busy as it was then"
        varies = (
            f", when its rates varied by {format_percent(profile.unsteadiness, 0)} in seconds; "
            "pilot=10 takes real steps first"
        )
        yield busy + varies * (profile.unsteadiness > UNSTEADY)
    if correction.num_runs:
        runs = f"{correction.num_runs} finished run{'s' * (correction.num_runs > 1)}"
        yield f"corrected by × {correction.factor:.2f} for {runs} here ({correction.of})"
    yield reading.said if reading else IN_CACHE


IN_CACHE = "fetching the data set, where it is not in the cache yet, is not counted"


def _assumptions(recipe: Recipe, curve: Curve | None, chance: float | None) -> Iterator[str]:
    if recipe.patience:
        yield "early stopping is not foreseen: the run may end before its last epoch"
    if recipe.compile:
        yield f"torch.compile takes {COMPILE_S:.0f} s and leaves a step as fast as it was"
    if recipe.goal and curve:
        yield f"epochs to the target: {curve.source}"
    elif recipe.goal:
        yield (
            f"no run of {recipe.model} on {recipe.data_name} is known: "
            "the time to the target cannot be said before it has trained a few epochs"
        )
    if chance is not None and chance < 0.5:
        yield f"the target is out of reach of this recipe: {format_percent(chance, 0)} chance"
