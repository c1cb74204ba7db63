"""A hundred steps: ten epochs of ten, the first twenty of them warm-up, peak 1."""

import pytest

from traintime.train.schedules import learning_rate

from .jobs import recipe_of

PER_EPOCH = 10


def rate(step: int, **fields: object) -> float:
    recipe = recipe_of(**{"lr": 1.0, "epochs": 10, "warmup": 0.2, **fields})
    return learning_rate(recipe, step, PER_EPOCH)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
@pytest.mark.parametrize(("step", "expected"), [(0, 1 / 21), (9, 10 / 21), (19, 20 / 21)])
def test_warm_up_rises_in_a_straight_line(schedule: str, step: int, expected: float) -> None:
    assert rate(step, schedule=schedule) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_peak_follows_the_warm_up(schedule: str) -> None:
    assert rate(20, schedule=schedule) == pytest.approx(1.0)


@pytest.mark.parametrize(("step", "expected"), [(40, 0.75), (60, 0.5), (99, 1 / 80)])
def test_one_cycle_falls_in_a_straight_line_towards_zero(step: int, expected: float) -> None:
    assert rate(step, schedule="one_cycle") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(40, 0.8535533906), (60, 0.5), (80, 0.1464466094), (99, 0.00038548)],
)
def test_cosine_falls_along_half_a_cosine(step: int, expected: float) -> None:
    # half of 1 + cosine of pi times the share of the 80 steps that is over
    assert rate(step, schedule="cosine") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("step", "expected"), [(29, 1.0), (30, 0.5), (59, 0.5), (60, 0.25), (99, 0.125)]
)
def test_step_drops_every_few_epochs(step: int, expected: float) -> None:
    now = rate(step, schedule="step", decay_every=3, decay_factor=0.5)
    assert now == pytest.approx(expected)


def test_constant_stays() -> None:
    assert {rate(step, schedule="constant") for step in range(20, 100)} == {1.0}


def test_without_warm_up_the_first_step_is_the_peak() -> None:
    for schedule in ("constant", "step", "cosine", "one_cycle"):
        assert rate(0, schedule=schedule, warmup=0.0) == 1.0


def test_rate_is_proportional_to_the_peak() -> None:
    assert rate(60, lr=0.03) == pytest.approx(0.015)


@pytest.mark.parametrize("warmup", [0.0, 0.013, 0.25, 0.999])
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_rate_is_positive_and_never_beyond_the_peak(schedule: str, warmup: float) -> None:
    rates = [rate(step, schedule=schedule, warmup=warmup) for step in range(100)]
    assert min(rates) > 0
    assert max(rates) <= 1.0
