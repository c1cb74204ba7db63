"""What a person should look at in a run that trains, and what to try.

Each rule is a function of records alone. A rule asks for more evidence than a single odd record: a
healthy run must raise none.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from traintime.clock.run_state import Curve, Record, RunState, RunWarning
from traintime.recipe import Recipe
from traintime.units import GIB, format_bytes, format_duration, format_percent

LATE_SHARE = 0.2
"""Of a step, above which the wait for its batch is worth mending."""
SHORT_SHARE, SHORT_DISK_BYTES = 0.1, GIB
"""Of memory, and free on the disk, below which the next surprise may end the run."""
SPIKE_DEVIATIONS, SPIKE_FACTOR, SPIKE_WINDOWS = 6.0, 1.5, 5
"""A loss so far above its recent median, for most of so many windows, has jumped."""
SLOW_FACTOR, SLOW_WINDOWS, SLOW_S, LEAST_SEEN = 1.5, 8, 10.0, 60
"""Steps so much longer than usual, for so many windows and seconds, are slowed down; what is usual
takes so many points of a curve."""
LEAST_WINDOWS = 20
"""Windows before anything is usual."""
LEAST_EPOCHS, WORSE_FACTOR, FALLEN_FACTOR, NO_BETTER = 5, 1.1, 0.95, 0.002
"""Validations since the best, how much worse their loss, how much less the training loss, and how
little more accuracy, before it is called overfitting."""
LEARNED_SHARE = 0.98
"""Of its first loss, above which a model has learned nothing yet."""
QUIET_S, QUIET_START_S, QUIET_GAPS = 30.0, 180.0, 3.0
"""Silence that says nothing: always, before the first step, and in units of the longest so far."""
MAD_TO_SIGMA = 1.4826  # of a normal distribution


def warnings_of(state: RunState) -> tuple[RunWarning, ...]:
    """Return what a person should look at in a run that is at work, the most urgent first."""
    if state.is_over:
        return ()
    recipe, name = state.recipe, state.run
    found = [
        silence(state),
        loss_spike(state.recent_steps, recipe, name),
        short_memory(state.usage, recipe, name),
        short_gpu_memory(state.usage, recipe),
        full_disk(state.usage, str(state.folder)),
        late_data(state.recent_steps, recipe),
        slow_down(state.recent_steps, state.curves.step_time_s, state.usage),
        no_learning(state.curves.train_loss, state.share_done, recipe, name),
        overfitting(state.recent_epochs, state.best_epoch, recipe, name),
    ]
    return tuple(warning for warning in found if warning)


def silence(state: RunState) -> RunWarning | None:
    """Warn of a process that writes nothing, for longer than what it does can take."""
    if state.status == "paused":
        return None
    quiet_s = max(QUIET_S, QUIET_GAPS * state.longest_gap_s)
    if state.last_step is None:
        quiet_s = max(QUIET_START_S, QUIET_GAPS * state.expected_s.get("prepare", 0.0))
    elif state.status == "validating":
        epochs = max(1, state.recipe.epochs)
        quiet_s = max(quiet_s, QUIET_GAPS * state.expected_s.get("validate", 0.0) / epochs)
    elif state.status == "testing":
        quiet_s = max(quiet_s, QUIET_GAPS * state.expected_s.get("evaluate", 0.0))
    if state.silent_s <= quiet_s:
        return None
    where = "" if state.is_here else f" on {state.host}"
    found = f"No word from process {state.pid}{where} for {format_duration(state.silent_s)}."
    look = f"ps -p {state.pid}" if state.is_here else f"ssh {state.host} ps -p {state.pid}"
    advice = (
        f"See whether it still works: {look}. If it hangs, end it and go on from its last "
        f"checkpoint: traintime runs resume {state.run}"
    )
    return RunWarning("silence", found, advice)


def late_data(steps: Sequence[Record], recipe: Recipe) -> RunWarning | None:
    """Warn of steps that wait for their batch."""
    if len(steps) < LEAST_WINDOWS:
        return None
    share = sum(float(r.get("data_time_s") or 0.0) for r in steps) / max(
        1e-12, sum(float(r["step_time_s"]) for r in steps)
    )
    if share <= LATE_SHARE:
        return None
    found = f"The data is late: {format_percent(share, 0)} of each step waits for a batch."
    changes = [f"{name}=0" for name in ("crop", "cutout") if getattr(recipe, name)]
    less = f"less to do for each picture ({', '.join(changes)}), " if changes else ""
    gathered = recipe.folder is not None and recipe.cache != "memory"
    more = "more workers=, cache=disk, " if gathered else ""
    return RunWarning(
        "late data", found, f"Try {more}{less}more processor cores, or a larger batch_size"
    )


def short_memory(usage: Record | None, recipe: Recipe, name: str) -> RunWarning | None:
    """Warn of main memory that is nearly used up."""
    if not usage:
        return None
    left, limit = usage["available_bytes"], usage["limit_bytes"]
    if left >= SHORT_SHARE * limit:
        return None
    found = (
        f"Memory is short: {format_bytes(left)} of {format_bytes(limit)} are left, and this run "
        f"holds {format_bytes(usage['rss_bytes'])}."
    )
    return RunWarning(
        "short memory",
        found,
        f"Close what else runs here. To be safe: traintime runs save {name}; "
        f"next time {_smaller(recipe)}",
    )


def short_gpu_memory(usage: Record | None, recipe: Recipe) -> RunWarning | None:
    """Warn of GPU memory that is nearly used up."""
    if not usage or not usage.get("gpu_limit_bytes") or usage.get("gpu_memory_bytes") is None:
        return None
    limit = usage["gpu_limit_bytes"]
    left = limit - usage["gpu_memory_bytes"]
    if left >= SHORT_SHARE * limit:
        return None
    found = f"GPU memory is short: {format_bytes(left)} of {format_bytes(limit)} are left."
    return RunWarning(
        "short GPU memory",
        found,
        f"Keep other processes off it (nvidia-smi lists them); next time {_smaller(recipe)}",
    )


def _smaller(recipe: Recipe) -> str:
    return f"batch_size={max(1, recipe.batch_size // 2)}, or accumulate={2 * recipe.accumulate}"


def full_disk(usage: Record | None, folder: str) -> RunWarning | None:
    """Warn of a disk on which the next checkpoint may not fit."""
    if not usage or usage["disk_free_bytes"] >= SHORT_DISK_BYTES:
        return None
    found = f"The disk is nearly full: {format_bytes(usage['disk_free_bytes'])} are left."
    return RunWarning("full disk", found, f"Free some space; see it with: df -h '{folder}'")


def loss_spike(steps: Sequence[Record], recipe: Recipe, name: str) -> RunWarning | None:
    """Warn of a training loss that has jumped and not come back."""
    losses = [float(r["loss"]) for r in steps]
    before, now = losses[:-SPIKE_WINDOWS], losses[-SPIKE_WINDOWS:]
    if len(before) < LEAST_WINDOWS:
        return None
    usual, level = statistics.median(before), statistics.median(now)
    deviation = MAD_TO_SIGMA * statistics.median(abs(loss - usual) for loss in before)
    if level <= max(usual + SPIKE_DEVIATIONS * deviation, SPIKE_FACTOR * usual):
        return None
    found = f"The loss jumped from {usual:.3g} to {level:.3g} by step {steps[-1]['step']:,}."
    clip = "" if recipe.grad_clip else ", or grad_clip=1"
    return RunWarning(
        "loss spike",
        found,
        f"If it stays there: traintime runs set {name} lr={recipe.lr / 3:.2g}{clip}",
    )


def slow_down(
    steps: Sequence[Record], step_times: Curve, usage: Record | None
) -> RunWarning | None:
    """Warn of steps that take much longer than they do in this run."""
    if len(steps) < LEAST_WINDOWS or len(step_times) < LEAST_SEEN:
        return None
    recent = [r for r in steps if r["elapsed_s"] > steps[-1]["elapsed_s"] - SLOW_S]
    recent = max(recent, steps[-SLOW_WINDOWS:], key=len)
    usual = statistics.median(point.y for point in step_times)
    now = statistics.median(float(r["step_time_s"]) for r in recent)
    if now <= SLOW_FACTOR * usual:
        return None
    found = (
        f"Steps take {now / usual:.1f} times as long as usual in this run "
        f"({format_duration(now)}, usually {format_duration(usual)})."
    )
    others = usage["others_cpu"] if usage else 0.0
    busy = f" ({format_percent(others, 0)} of the processor)" if others >= 0.05 else ""
    return RunWarning(
        "slow-down",
        found,
        f"Something else may be busy here{busy}: see it with top. The time left takes it in",
    )


def no_learning(losses: Curve, share_done: float, recipe: Recipe, name: str) -> RunWarning | None:
    """Warn of a loss that is where it began, well after the warm-up."""
    if len(losses) < LEAST_WINDOWS or share_done < recipe.warmup + 0.1:
        return None
    first, now = losses[0].y, statistics.median(p.y for p in losses[-SPIKE_WINDOWS:])
    if now < LEARNED_SHARE * first:
        return None
    found = f"The model does not learn: its loss is {now:.3g}, and was {first:.3g} at first."
    return RunWarning(
        "no learning",
        found,
        f"Try another rate: traintime runs set {name} lr={recipe.lr / 3:.2g}, "
        f"or lr={recipe.lr * 3:.2g}",
    )


def overfitting(
    epochs: Sequence[Record], best: Record | None, recipe: Recipe, name: str
) -> RunWarning | None:
    """Warn of a validation loss that rises while the training loss falls."""
    recent = epochs[-LEAST_EPOCHS:]
    if best is None or len(recent) < LEAST_EPOCHS:
        return None
    since = recent[-1]["epoch"] - best["epoch"]
    if since < max(LEAST_EPOCHS, recent[-1]["epoch"] // 10):
        return None
    loss, train_loss, accuracy = (
        statistics.median(float(r[key]) for r in recent)
        for key in ("validation_loss", "train_loss", "validation_accuracy")
    )
    worse = loss > WORSE_FACTOR * best["validation_loss"]
    fallen = train_loss < FALLEN_FACTOR * best["train_loss"]
    metric = recipe.goal.metric if recipe.goal else recipe.monitor
    better = metric == "accuracy" and accuracy > best["validation_accuracy"] + NO_BETTER
    if not (worse and fallen) or better:
        return None
    found = (
        f"Overfitting: the {recipe.validate_on} loss rose from {best['validation_loss']:.3g} at "
        f"epoch {best['epoch']:,} to {loss:.3g}, while the training loss fell."
    )
    return RunWarning(
        "overfitting",
        found,
        f"It may not get better: traintime runs stop {name}. Next time try weight_decay, "
        "label_smoothing=0.1, or patience=5",
    )
