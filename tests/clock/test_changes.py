"""The clock of a run that is changed on the way, or goes back."""

from typing import Any

import pytest

from tests.clock.test_eta import STEPS_PER_EPOCH, make_clock, run_steadily
from traintime.clock.eta import Clock
from traintime.recipe.steering import steered
from traintime.train.records import EpochRecord, Start

STEP_S = 0.05


def epoch(number: int, elapsed_s: float, accuracy: float) -> EpochRecord:
    loss = 2 * (1 - accuracy)
    return EpochRecord(number, number * STEPS_PER_EPOCH, loss, loss, accuracy, 5000.0, elapsed_s)


def half_way(**fields: Any) -> Clock:
    """Return the clock of a steady run after five of its ten epochs."""
    clock = make_clock(**fields)
    clock.on_start(Start(STEPS_PER_EPOCH, 10 * STEPS_PER_EPOCH, 0, 0.0))
    for number in range(1, 6):
        last = number * STEPS_PER_EPOCH
        run_steadily(clock, STEP_S, last, last - STEPS_PER_EPOCH)
        clock.on_epoch(epoch(number, last * STEP_S, 0.9 + 0.015 * number))
    return clock


def tell(clock: Clock, verb: str, **fields: Any) -> None:
    recipe = steered(clock.recipe, verb, fields)  # type: ignore[arg-type]
    clock.on_recipe(recipe)


def test_more_epochs_take_as_much_longer():
    clock = half_way()
    before = clock.eta.finish_s.median
    tell(clock, "extend", epochs=10)
    added_s = 10 * STEPS_PER_EPOCH * STEP_S
    assert clock.eta.finish_s.median == pytest.approx(before + added_s, rel=0.05)


def test_fewer_epochs_end_sooner():
    clock = half_way()
    tell(clock, "set", epochs=6)
    assert clock.eta.finish_s.median == pytest.approx(6 * STEPS_PER_EPOCH * STEP_S, rel=0.1)


def test_a_target_that_is_set_on_the_way_is_looked_out_for_at_once():
    clock = half_way()
    assert clock.eta.target_s is None
    tell(clock, "set", target="accuracy:0.98")
    assert clock.eta.target_s is not None
    assert clock.eta.elapsed_s < clock.eta.target_s.median < clock.eta.finish_s.high


def test_a_target_of_the_other_metric_is_judged_by_what_was_seen_of_it():
    clock = half_way(target="accuracy:0.99")
    tell(clock, "set", target="loss:0.03")
    assert clock.metric == "loss"
    assert clock.eta.chance_of_target is not None
    assert clock.outlook is not None
    assert clock.outlook.epochs[0] == 6.0


def test_what_is_done_again_takes_its_time_again():
    clock = half_way()
    before = clock.eta.finish_s.median
    elapsed_s = 5 * STEPS_PER_EPOCH * STEP_S
    clock.on_rollback(
        Start(STEPS_PER_EPOCH, 10 * STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH, elapsed_s, 2)
    )
    again_s = 3 * STEPS_PER_EPOCH * STEP_S
    assert clock.eta.finish_s.median == pytest.approx(before + again_s, rel=0.05)
    clock.on_epoch(epoch(3, elapsed_s + again_s / 3, 0.94))
    assert clock.outlook is not None
    assert clock.outlook.epochs[0] == 4.0
