"""Deadlines under a clock that the tests move."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from traintime.recipe.budget import Budget
from traintime.train.pace import Deadline, DeadlinePace, Expected, Pace
from traintime.train.progress import Progress
from traintime.train.schedules import learning_rate

from .jobs import recipe_of

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
PER_EPOCH = 100


@dataclass
class Machine:
    """Trains in a time that it makes up: seconds of a step, a validation, a test, a checkpoint."""

    step_s: Callable[[float], float] = lambda _: 0.1
    validate_s: float = 2.0
    finish_s: float = 4.0
    save_s: float = 0.0
    prepare_s: float = 1.0
    jump_s: Callable[[float], float] = lambda _: 0.0
    time_s: float = 0.0
    rates: list[float] = field(default_factory=list[float])
    progress: Progress = field(default_factory=Progress)

    def run(self, budget: Budget, expected: Expected, most_epochs: int = 10_000) -> float:
        """Return when the result is there."""
        self.time_s += self.prepare_s
        pace = DeadlinePace(
            Deadline(budget, most_epochs, expected),
            PER_EPOCH,
            lambda: self.time_s,
            lambda: NOON + timedelta(seconds=self.time_s + self.jump_s(self.time_s)),
            lambda: self.time_s,
        )
        recipe = recipe_of(lr=1.0, epochs=expected.epochs, warmup=0.0, schedule="one_cycle")
        progress = self.progress
        while True:
            for position in range(progress.position, PER_EPOCH):
                if position % 10 == 0:
                    self.time_s += self.save_s
                    pace.resume()
                self.rates.append(learning_rate(recipe, pace.position(progress), PER_EPOCH))
                step_s = self.step_s(self.time_s)
                self.time_s += step_s
                progress.step += 1
                progress.position = position + 1
                pace.advance(progress)
                pace.learn_step_time(step_s)
                if pace.is_time_over(progress):
                    break
            self.time_s += self.validate_s
            pace.learn_validation_time(self.validate_s)
            progress.epoch += 1
            progress.position = 0
            if pace.is_over(progress):
                return self.time_s + self.finish_s
            pace.resume()


EXPECTED = Expected(epochs=8, step_s=0.1, validate_s=2.0, test_s=4.0, save_s=0.0)


@pytest.mark.parametrize("budget_s", [20.0, 50.0, 97.3, 200.0, 1_000.0])
@pytest.mark.parametrize(
    "machine",
    [
        Machine(),
        Machine(step_s=lambda _: 0.23),
        Machine(step_s=lambda _: 0.03),
        Machine(step_s=lambda now: 0.1 if now < 12 else 0.3),
        Machine(step_s=lambda now: 0.2 if int(now) % 7 else 0.05, save_s=0.2),
        Machine(validate_s=0.5, finish_s=1.0),
        Machine(validate_s=3.0, finish_s=6.0),
    ],
    ids=["as expected", "slow", "fast", "slows down", "uneven", "quick to judge", "slow to judge"],
)
def test_the_result_is_there_in_time_and_the_rate_at_its_end(machine: Machine, budget_s: float):
    machine = Machine(**{**vars(machine), "progress": Progress(), "rates": []})
    slowest_s = max(machine.step_s(t / 10) for t in range(2_000))
    ended_s = machine.run(Budget(seconds=budget_s), EXPECTED)
    assert ended_s <= budget_s + slowest_s + machine.save_s + 1e-6
    unused_s = machine.validate_s + 2 * slowest_s + machine.save_s
    late_to_know_s = max(0.0, 2 * (EXPECTED.validate_s + EXPECTED.test_s) - 3)
    assert ended_s >= budget_s - unused_s - (late_to_know_s if budget_s < 30 else 0)
    assert machine.rates[0] == 1.0
    assert machine.rates[-1] < 0.2 if budget_s < 50 else machine.rates[-1] < 0.1
    assert machine.rates == sorted(machine.rates, reverse=True)


def test_a_device_that_runs_behind_its_launches_follows_the_time_too():
    machine = Machine()
    pace = DeadlinePace(
        Deadline(Budget(seconds=60.0), 10_000, Expected(10, 0.01, 0.0, 0.0, 0.0)),
        PER_EPOCH,
        lambda: machine.time_s,
        clock=lambda: machine.time_s,
    )
    progress = machine.progress
    while machine.time_s < 45:
        for _ in range(25):  # launched in a fifth of the time that they take
            machine.time_s += 0.002
            progress.step += 1
            pace.advance(progress)
        machine.time_s += 0.2
        pace.settle(progress, 25)
        pace.learn_step_time(0.01)
        pace.resume()
    assert progress.schedule_share == pytest.approx(0.75, abs=0.03)


def test_a_first_step_that_compiles_takes_no_part_of_the_schedule():
    machine = Machine(step_s=lambda now: 15.0 if now < 2 else 0.1)
    ended_s = machine.run(Budget(seconds=60.0), EXPECTED)
    assert machine.rates[1] > 0.98
    assert 55 < ended_s <= 60.2
    assert machine.rates[-1] < 0.05


def test_half_of_the_time_is_half_of_the_schedule():
    machine = Machine(step_s=lambda now: 0.05 if now < 150 else 0.2, validate_s=0.0, finish_s=0.0)
    machine.run(Budget(seconds=301.0), Expected(20, 0.1, 0.0, 0.0, 0.0))
    by_then = int((150 - 1) / 0.05)
    assert machine.rates[by_then] == pytest.approx(0.5, abs=0.03)


def test_epochs_end_a_run_before_its_deadline_with_the_rate_at_its_end():
    machine = Machine()
    ended_s = machine.run(Budget(seconds=1_000.0), Expected(3, 0.1, 2.0, 4.0, 0.0), most_epochs=3)
    assert machine.progress.epoch == 3
    assert ended_s < 50
    assert machine.rates[-1] < 0.02


def test_a_time_of_day_counts_the_pause_between_two_processes():
    until = Budget(until=NOON + timedelta(seconds=100))
    machine = Machine(progress=Progress(step=100, epoch=1, schedule_share=0.3), time_s=60.0)
    ended_s = machine.run(until, EXPECTED)
    assert 95 <= ended_s <= 100.2
    assert machine.rates[0] == pytest.approx(0.7)
    assert machine.rates[-1] < 0.05


def test_a_wall_clock_that_jumps_ahead_brings_the_deadline_nearer():
    machine = Machine(jump_s=lambda now: 40.0 if now > 30 else 0.0)
    ended_s = machine.run(Budget(until=NOON + timedelta(seconds=100)), EXPECTED)
    assert ended_s <= 60.2
    assert machine.rates[-1] < 0.2


def test_a_wall_clock_that_jumps_does_not_touch_a_length_of_time():
    machine = Machine(jump_s=lambda now: 1e6 if now > 30 else 0.0)
    assert 95 <= machine.run(Budget(seconds=100.0), EXPECTED) <= 100.2


def test_a_deadline_that_has_passed_lets_one_step_through():
    machine = Machine(time_s=200.0)
    machine.run(Budget(seconds=100.0), EXPECTED)
    assert machine.progress.step == 1


def test_epochs_are_their_own_pace():
    pace, progress = Pace(2, PER_EPOCH), Progress(step=7, epoch=1)
    assert pace.position(progress) == 7.0
    assert not pace.is_time_over(progress)
    assert not pace.is_over(progress)
    assert pace.is_over(Progress(epoch=2))
