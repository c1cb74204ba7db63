import dataclasses
import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import pytest

from traintime.api.job import read_job
from traintime.clock import eta
from traintime.clock.eta import Clock, remaining
from traintime.forecast import convergence
from traintime.forecast.predict import forecast_job, plan_job
from traintime.hardware.profile import HardwareProfile
from traintime.recipe.budget import Budget
from traintime.train.pace import Deadline, Expected
from traintime.train.records import EpochRecord, Start, StepRecord
from traintime.units import Interval

STEPS_PER_EPOCH = 223


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(convergence, "_measured", list)
    monkeypatch.setattr(eta, "UPDATE_SHARE", math.inf)  # every record updates


def make_clock(**fields):
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text("utf-8")
    profile = HardwareProfile.from_json(json.loads(text))
    job = read_job(None, {"data": "mnist", "model": "lenet", "epochs": 10} | fields)
    plan = plan_job(job.recipe, job.network, job.sizes, "cpu", profile)
    clock = Clock(job.recipe, forecast_job(job.recipe, plan, profile, 0.0))
    assert clock.forecast.steps_per_epoch == STEPS_PER_EPOCH
    return clock


def window(step: int, elapsed_s: float, step_time_s: float) -> StepRecord:
    epoch = step / STEPS_PER_EPOCH
    return StepRecord(step, epoch, 0.1, 0.01, 256 / step_time_s, elapsed_s, step_time_s)


def run_steadily(clock: Clock, step_time_s: float, last_step: int, first_step: int = 0) -> float:
    for step in range(first_step + 10, last_step + 1, 10):
        clock.on_steps(window(step, step * step_time_s, step_time_s))
    return last_step * step_time_s


def test_a_steady_run_is_foreseen_and_its_interval_narrows():
    clock = make_clock()
    clock.on_start(Start(STEPS_PER_EPOCH, 10 * STEPS_PER_EPOCH, 0, 0.0))
    before = clock.eta.finish_s
    run_steadily(clock, 0.05, 5 * STEPS_PER_EPOCH)
    after = clock.eta.finish_s
    assert after.median == pytest.approx(10 * STEPS_PER_EPOCH * 0.05, rel=0.03)
    assert after.high / after.low < before.high / before.low
    assert 10 * STEPS_PER_EPOCH * 0.05 + 0.5 in after


def test_a_machine_that_slows_down_moves_the_end():
    clock = make_clock()
    run_steadily(clock, 0.01, 1000)
    fast = clock.eta.finish_s.median
    elapsed = 10.0
    for step in range(1010, 2000, 10):
        elapsed += 0.3
        clock.on_steps(window(step, elapsed, 0.03))
    left = remaining(clock.eta.finish_s, elapsed).median
    assert left == pytest.approx((10 * STEPS_PER_EPOCH - 1990) * 0.03, rel=0.15)
    assert clock.eta.finish_s.median > fast


def test_after_a_resume_only_steps_that_are_left_are_counted():
    clock = make_clock()
    clock.on_start(Start(STEPS_PER_EPOCH, 10 * STEPS_PER_EPOCH, 9 * STEPS_PER_EPOCH, 1000.0))
    left = remaining(clock.eta.finish_s, 1000.0)
    assert left.median == pytest.approx(
        STEPS_PER_EPOCH * clock.forecast.step_time_s.median, rel=0.5
    )


def test_noisy_windows_keep_the_interval_wide():
    steady, noisy = make_clock(), make_clock()
    for clock, wobble in ((steady, 0.0), (noisy, 0.9)):
        elapsed, draw = 0.0, random.Random(0)
        for step in range(10, 1000, 10):
            step_time = 0.02 * (1 + wobble * draw.uniform(-1, 1))
            elapsed += 10 * step_time
            clock.on_steps(window(step, elapsed, step_time))
    assert noisy.eta.finish_s.sigma > 2 * steady.eta.finish_s.sigma


def epoch_record(epoch: int, accuracy: float, elapsed_s: float) -> EpochRecord:
    return EpochRecord(epoch, epoch * STEPS_PER_EPOCH, 0.1, 0.1, accuracy, 1e4, elapsed_s)


def test_the_target_is_unknown_until_two_epochs_and_then_extrapolated():
    clock = make_clock(target="accuracy:0.99")
    clock.on_epoch(epoch_record(1, 0.96, 10.0))
    assert clock.eta.target_s is None
    clock.on_epoch(epoch_record(2, 0.98, 20.0))
    assert clock.eta.chance_of_target is not None
    assert clock.eta.chance_of_target > 0.3
    assert clock.eta.target_s is not None
    assert clock.eta.target_s.low >= 20.0


def test_a_reached_target_is_a_fact():
    clock = make_clock(target="accuracy:0.9")
    clock.on_epoch(epoch_record(1, 0.89, 10.0))
    clock.on_epoch(epoch_record(2, 0.95, 20.0))
    assert clock.eta.chance_of_target == 1.0
    assert clock.eta.target_s is not None
    assert clock.eta.target_s.median == pytest.approx(20.0)


def test_what_is_left_is_never_negative():
    assert remaining(Interval(5.0, 4.0, 6.0), 4.5) == Interval(0.5, 0.0, 1.5)


def test_the_clock_takes_a_hundredth_of_the_time_at_most(monkeypatch):
    monkeypatch.setattr(eta, "UPDATE_SHARE", 0.01)
    clock = make_clock()
    now: list[float] = [0.0]
    updates: list[float] = []
    monkeypatch.setattr(eta, "perf_counter", lambda: now[0])

    def update(elapsed_s: float) -> None:
        updates.append(elapsed_s)
        now[0] += 0.01

    monkeypatch.setattr(clock, "_update", update)
    for step in range(1, 101):
        now[0] += 0.1
        clock.on_steps(window(step, step * 0.1, 0.1))
    assert len(updates) == pytest.approx(10, abs=1)


def test_early_stopping_is_foreseen_and_brings_the_end_nearer():
    patient, stubborn = make_clock(patience=2, epochs=50), make_clock(epochs=50)
    accuracies = [0.90, 0.95, 0.96, 0.961, 0.961, 0.9605]
    for clock in (patient, stubborn):
        for number, accuracy in enumerate(accuracies, 1):
            clock.on_epoch(epoch_record(number, accuracy, 10.0 * number))
    assert patient.outlook is not None
    assert patient.outlook.endings[0] > 0.2
    assert patient.eta.finish_s.median < 0.7 * stubborn.eta.finish_s.median


def test_a_run_whose_chance_is_small_is_ended_and_what_that_saves_is_said():
    clock = make_clock(target="accuracy:0.999", min_chance=0.1, epochs=20, schedule="constant")
    assert clock.stop_reason() == ""
    for number in range(1, 11):
        clock.on_epoch(epoch_record(number, 0.9 + 0.001 * number, 10.0 * number))
    assert clock.eta.chance_of_target is not None
    assert clock.eta.chance_of_target < 0.1
    assert "the chance of reaching the target is" in clock.stop_reason()
    assert "saved" in clock.stop_reason()


def test_looking_ahead_in_another_thread_gives_the_same():
    with ThreadPoolExecutor(1) as thread:
        plain, threaded = make_clock(target="accuracy:0.99"), make_clock(target="accuracy:0.99")
        threaded._thread = thread
        for number, accuracy in enumerate([0.9, 0.95, 0.97], 1):
            for clock in (plain, threaded):
                clock.on_epoch(epoch_record(number, accuracy, 100.0 * number))
            thread.submit(lambda: None).result()
        threaded._update(300.0)
    assert threaded.outlook == plain.outlook
    assert threaded.eta.chance_of_target == pytest.approx(plain.eta.chance_of_target)


def test_a_deadline_is_the_end(monkeypatch):
    clock = make_clock(budget="60s")
    clock.deadline = Deadline(Budget(seconds=60.0), 10_000, Expected(10, 0.01, 0.1, 0.1, 0.02))
    clock.on_start(Start(STEPS_PER_EPOCH, 10 * STEPS_PER_EPOCH, 0, 1.0))
    run_steadily(clock, 0.03, 500)
    assert clock.eta.finish_s.high == clock.eta.finish_s.median == pytest.approx(60.0)
    assert clock._last_epoch() == pytest.approx(59 / (0.03 * STEPS_PER_EPOCH), rel=0.1)


def test_a_target_that_has_to_hold_is_not_reached_by_a_lucky_validation():
    clock = make_clock(target="accuracy:0.9", confidence=0.95)
    clock.on_epoch(dataclasses.replace(epoch_record(1, 0.85, 10.0), margin=0.02))
    clock.on_epoch(dataclasses.replace(epoch_record(2, 0.91, 20.0), margin=0.02))
    assert clock.eta.chance_of_target is not None
    assert clock.eta.chance_of_target < 1
    clock.on_epoch(dataclasses.replace(epoch_record(3, 0.925, 30.0), margin=0.02))
    assert clock.eta.chance_of_target == 1.0


def test_after_a_resume_the_outlook_begins_where_the_run_is():
    clock = make_clock(patience=0, epochs=20)
    clock.recall({"validation_accuracy": 0.9 + 0.005 * n, "validation_loss": 0.3} for n in range(8))
    assert clock.outlook is None
    clock.on_start(Start(STEPS_PER_EPOCH, 20 * STEPS_PER_EPOCH, 8 * STEPS_PER_EPOCH, 80.0, 8))
    assert clock.outlook is not None
    assert clock.outlook.epochs == tuple(map(float, range(9, 21)))
