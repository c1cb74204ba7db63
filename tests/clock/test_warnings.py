import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import pytest

from traintime.clock import warnings
from traintime.clock.run_state import Curves, Record, RunState
from traintime.clock.thinned import Point
from traintime.clock.warnings import warnings_of
from traintime.recipe import read_recipe
from traintime.units import GIB

RECIPE = read_recipe(data="digits", model="lenet", epochs=100, lr=0.03)
NAME = "20261120-digits-lenet"


def windows(
    losses: list[float], step_time_s: float = 0.02, data_time_s: float = 0.0
) -> list[Record]:
    """Windows of ten steps, five to a second."""
    return [
        {
            "step": 10 * n,
            "epoch": n / 10,
            "loss": loss,
            "elapsed_s": n / 5,
            "step_time_s": step_time_s,
            "data_time_s": data_time_s,
        }
        for n, loss in enumerate(losses, 1)
    ]


def noisy(level: float, spread: float, count: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [level * math.exp(chance.gauss(0, spread)) for _ in range(count)]


def validations(
    losses: list[float], train_losses: list[float], accuracy: float = 0.9
) -> list[Record]:
    return [
        {
            "epoch": n,
            "step": 100 * n,
            "train_loss": train_loss,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
        }
        for n, (loss, train_loss) in enumerate(zip(losses, train_losses, strict=True), 1)
    ]


def usage(**changes: Any) -> Record:
    return {
        "cpu": 0.9,
        "others_cpu": 0.02,
        "rss_bytes": 2 * GIB,
        "available_bytes": 10 * GIB,
        "limit_bytes": 16 * GIB,
        "disk_free_bytes": 60 * GIB,
        "gpu_memory_bytes": 20 * GIB,
        "gpu_limit_bytes": 80 * GIB,
    } | changes


def curve(ys: list[float]) -> tuple[Point, ...]:
    return tuple(Point(float(x), y, y, y) for x, y in enumerate(ys))


def healthy(**changes: Any) -> RunState:
    """A run in its middle: everything noisy, nothing wrong."""
    steps = windows(noisy(0.5, 0.3, 64))
    falling = [2 * 0.97**n + 0.3 for n in range(60)]
    epochs = validations(noisy(0.6, 0.02, 30), falling[:30])
    return dataclasses.replace(
        RunState(
            run=NAME,
            folder=Path("/runs") / NAME,
            status="training",
            recipe=RECIPE,
            pid=123,
            host="ada",
            last_step=steps[-1],
            recent_steps=tuple(steps),
            recent_epochs=tuple(epochs),
            best_epoch=min(epochs, key=lambda epoch: epoch["validation_loss"]),
            usage=usage(),
            curves=Curves(train_loss=curve(falling), step_time_s=curve(noisy(0.02, 0.1, 60))),
        ),
        **changes,
    )


def kinds(state: RunState) -> list[str]:
    return [warning.kind for warning in warnings_of(state)]


def test_healthy_run_raises_no_alarm() -> None:
    assert warnings_of(healthy()) == ()


def test_no_alarm_before_anything_is_known() -> None:
    assert warnings_of(RunState(NAME, Path("/runs"), "preparing", RECIPE)) == ()


def test_run_that_is_over_needs_no_warning() -> None:
    assert kinds(healthy(usage=usage(disk_free_bytes=0))) == ["full disk"]
    assert warnings_of(healthy(usage=usage(disk_free_bytes=0), status="finished")) == ()


def test_steps_that_wait_for_their_batch() -> None:
    steps = windows([0.5] * 30, step_time_s=0.02, data_time_s=0.007)
    warning = warnings.late_data(steps, RECIPE.model_copy(update={"crop": 4}))
    assert warning is not None
    assert warning.found == "The data is late: 35 % of each step waits for a batch."
    assert "crop=0" in warning.advice
    assert warnings.late_data(windows([0.5] * 30, data_time_s=0.003), RECIPE) is None


def test_records_that_know_of_no_wait_are_no_late_data() -> None:
    steps = [{key: r[key] for key in ("loss", "step_time_s")} for r in windows([0.5] * 30)]
    assert warnings.late_data(steps, RECIPE) is None


def test_memory_that_is_nearly_used_up() -> None:
    warning = warnings.short_memory(usage(available_bytes=GIB), RECIPE, NAME)
    assert warning is not None
    assert "1 GiB of 16 GiB are left, and this run holds 2 GiB" in warning.found
    assert f"traintime runs save {NAME}" in warning.advice
    assert warnings.short_memory(usage(available_bytes=2 * GIB), RECIPE, NAME) is None


def test_gpu_memory_that_is_nearly_used_up() -> None:
    warning = warnings.short_gpu_memory(usage(gpu_memory_bytes=76 * GIB), RECIPE)
    assert warning is not None
    assert warning.found == "GPU memory is short: 4 GiB of 80 GiB are left."
    assert warnings.short_gpu_memory(usage(), RECIPE) is None
    assert warnings.short_gpu_memory(usage(gpu_limit_bytes=None), RECIPE) is None


def test_disk_that_is_nearly_full() -> None:
    warning = warnings.full_disk(usage(disk_free_bytes=GIB // 2), "/runs/a")
    assert warning is not None
    assert "512 MiB are left" in warning.found
    assert "df -h '/runs/a'" in warning.advice


def test_loss_that_jumps_and_stays() -> None:
    steps = windows(noisy(0.3, 0.1, 50) + noisy(1.2, 0.1, 5))
    warning = warnings.loss_spike(steps, RECIPE, NAME)
    assert warning is not None
    assert "jumped from 0.3" in warning.found
    assert warning.advice.endswith(f"traintime runs set {NAME} lr=0.01, or grad_clip=1")


def test_single_odd_window_is_no_jump() -> None:
    assert warnings.loss_spike(windows([*noisy(0.3, 0.1, 50), 5.0]), RECIPE, NAME) is None


def test_loss_that_came_back_is_no_jump() -> None:
    losses = noisy(0.3, 0.1, 30) + [2.0] * 5 + noisy(0.3, 0.1, 20)
    assert warnings.loss_spike(windows(losses), RECIPE, NAME) is None


@pytest.mark.parametrize("seed", range(50))
def test_scatter_of_a_small_loss_is_no_jump(seed: int) -> None:
    steps = windows(noisy(0.002, 0.8, 64, seed))
    assert warnings.loss_spike(steps, RECIPE, NAME) is None


def test_steps_that_take_longer_than_usual() -> None:
    steps = windows([0.5] * 80, step_time_s=0.05)
    warning = warnings.slow_down(steps, curve([0.02] * 60), usage(others_cpu=0.8))
    assert warning is not None
    assert warning.found.startswith("Steps take 2.5 times as long as usual in this run (50 ms")
    assert "(80 % of the processor)" in warning.advice
    assert warnings.slow_down(windows([0.5] * 30, 0.025), curve([0.02] * 60), usage()) is None


def test_a_few_slow_seconds_are_no_slow_down() -> None:
    steps = windows([0.5] * 100)
    slow = [{**r, "step_time_s": 0.06} for r in steps[-20:]]  # the last four seconds
    assert warnings.slow_down([*steps[:-20], *slow], curve([0.02] * 60), usage()) is None


def test_windows_of_a_minute_tell_by_their_number() -> None:
    steps = [{**r, "elapsed_s": 60.0 * n} for n, r in enumerate(windows([0.5] * 30, 6.0))]
    assert warnings.slow_down(steps, curve([3.0] * 60), usage())
    quick = [{**r, "step_time_s": 3.0} for r in steps[:-5]]
    assert warnings.slow_down([*quick, *steps[-5:]], curve([3.0] * 60), usage())
    assert warnings.slow_down([*quick, *steps[-3:]], curve([3.0] * 60), usage()) is None


def test_validation_loss_that_rises_while_training_loss_falls() -> None:
    losses = [1.0, 0.6, 0.4, 0.42, 0.45, 0.5, 0.52, 0.55, 0.56]
    epochs = validations(losses, [1.0 - 0.1 * n for n in range(9)])
    warning = warnings.overfitting(epochs, epochs[2], RECIPE, NAME)
    assert warning is not None
    assert "rose from 0.4 at epoch 3 to 0.52, while the training loss fell" in warning.found


def test_loss_that_rises_while_accuracy_does_too_is_let_be() -> None:
    losses = [1.0, 0.6, 0.4, 0.42, 0.45, 0.5, 0.52, 0.55, 0.56]
    epochs = validations(losses, [1.0 - 0.1 * n for n in range(9)], accuracy=0.93)
    best = {**epochs[2], "validation_accuracy": 0.9}
    assert warnings.overfitting(epochs, best, RECIPE, NAME) is None
    judged_by_loss = RECIPE.model_copy(update={"monitor": "loss"})
    assert warnings.overfitting(epochs, best, judged_by_loss, NAME)


def test_both_losses_rising_is_no_overfitting() -> None:
    losses = [1.0, 0.6, 0.4, 0.42, 0.45, 0.5, 0.52, 0.55, 0.56]
    epochs = validations(losses, [0.4 + 0.1 * n for n in range(9)])
    assert warnings.overfitting(epochs, epochs[2], RECIPE, NAME) is None


def test_model_that_does_not_learn() -> None:
    losses = curve(noisy(2.3, 0.002, 60))
    warning = warnings.no_learning(losses, 0.4, RECIPE, NAME)
    assert warning is not None
    assert "its loss is 2.3, and was 2.31 at first" in warning.found
    assert warnings.no_learning(losses, 0.15, RECIPE, NAME) is None, "it still warms up"
    assert warnings.no_learning(curve([2.3] * 10 + [2.1] * 20), 0.4, RECIPE, NAME) is None


def test_process_that_says_nothing() -> None:
    warning = warnings.silence(healthy(silent_s=40.0))
    assert warning is not None
    assert warning.found == "No word from process 123 for 40 s."
    assert f"traintime runs resume {NAME}" in warning.advice
    elsewhere = warnings.silence(healthy(silent_s=40.0, is_here=False))
    assert elsewhere is not None
    assert elsewhere.found == "No word from process 123 on ada for 40 s."


def test_silence_is_measured_by_what_the_run_takes_between_records() -> None:
    assert warnings.silence(healthy(silent_s=100.0, longest_gap_s=50.0)) is None
    assert warnings.silence(healthy(silent_s=200.0, longest_gap_s=50.0))
    long = {"validate": 6000.0, "evaluate": 100.0, "prepare": 100.0}
    assert warnings.silence(healthy(silent_s=100.0, status="validating", expected_s=long)) is None
    assert warnings.silence(healthy(silent_s=100.0, status="testing", expected_s=long)) is None
    assert warnings.silence(healthy(silent_s=100.0, last_step=None, expected_s=long)) is None


def test_paused_run_may_be_silent() -> None:
    assert warnings.silence(healthy(silent_s=9000.0, status="paused")) is None
