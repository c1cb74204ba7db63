import math
import random

import pytest

from traintime.clock.speed import MOST_BLOCKS, Speed
from traintime.units import Interval


def fed(speed: Speed, *phases: tuple[float, float, float], seed: int = 0) -> Speed:
    """Feed windows of 0.2 s: (seconds in all, seconds of a step, sigma of its logarithm)."""
    draw = random.Random(seed)
    for total_s, step_s, sigma in phases:
        for _ in range(int(total_s / 0.2)):
            speed.see(0.2 / step_s, 0.2 * math.exp(draw.gauss(0, sigma)))
    return speed


def test_nothing_is_known_before_anything_is():
    assert Speed().step_s is None
    assert Speed().seconds(10) is None


def test_the_forecast_holds_until_steps_are_seen():
    prior = Interval.lognormal(0.02, 0.3)
    ahead = Speed(prior).seconds(100)
    assert ahead is not None
    assert ahead.median == pytest.approx(2.0)
    assert ahead.sigma == pytest.approx(0.3, rel=0.01)


def test_steps_that_were_seen_outweigh_the_forecast():
    speed = fed(Speed(Interval.lognormal(0.02, 0.3)), (2.0, 0.05, 0.02))
    assert speed.step_s == pytest.approx(0.05, rel=0.02)
    ahead = speed.seconds(1_000)
    assert ahead is not None
    assert 0.01 <= ahead.sigma < 0.1


def test_a_forecast_that_is_far_off_is_let_go():
    speed = fed(Speed(Interval.lognormal(0.002, 0.05)), (1.0, 0.05, 0.02))
    assert speed.step_s == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("minutes", [0.5, 5, 100])
def test_noise_is_averaged_however_long_the_run(minutes: float):
    speed = fed(Speed(), (60 * minutes, 0.01, 0.3))
    assert speed.step_s == pytest.approx(0.01, rel=0.15)
    assert len(speed._blocks) <= MOST_BLOCKS


def test_a_machine_that_slows_down_is_followed():
    speed = fed(Speed(), (60.0, 0.01, 0.03), (15.0, 0.02, 0.03))
    assert speed.step_s == pytest.approx(0.02, rel=0.1)
    steady = fed(Speed(), (75.0, 0.01, 0.03)).seconds(10_000)
    unsteady = speed.seconds(5_000)
    assert steady is not None
    assert unsteady is not None
    assert unsteady.sigma > 2 * steady.sigma


def test_a_burst_in_a_long_run_is_noise():
    speed = fed(Speed(), (300.0, 0.01, 0.03), (2.0, 0.04, 0.03), (30.0, 0.01, 0.03))
    assert speed.step_s == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_intervals_hold_for_noise(sigma: float):
    inside = 0
    for seed in range(200):
        draw = random.Random(seed)
        speed = fed(Speed(), (6.0, 0.01, sigma), seed=seed)
        ahead = speed.seconds(5_400)
        truth = sum(0.2 * math.exp(draw.gauss(0, sigma)) for _ in range(270))
        assert ahead is not None
        inside += truth in ahead
    assert inside >= 150


def test_intervals_hold_for_a_walk():
    inside = 0
    for seed in range(200):
        draw, level, speed = random.Random(seed), 0.0, Speed()
        taken: list[float] = []
        for _ in range(600):
            level += draw.gauss(0, 0.02)
            taken.append(0.2 * math.exp(level + draw.gauss(0, 0.05)))
        for seconds in taken[:150]:
            speed.see(20, seconds)
        ahead = speed.seconds(450 * 20)
        assert ahead is not None
        inside += sum(taken[150:]) in ahead
    assert 130 <= inside <= 190


def test_no_time_and_no_steps_tell_nothing():
    speed = Speed()
    speed.see(0, 1.0)
    speed.see(10, 0.0)
    assert speed.step_s is None


def test_a_pause_says_nothing_of_steps_to_come():
    speed = fed(Speed(), (10.0, 0.01, 0.03))
    before = speed.seconds(1_000)
    speed.see(20, 3_600.0)
    assert speed.seconds(1_000) == before
    fed(speed, (10.0, 0.01, 0.03), seed=1)
    assert speed.step_s == pytest.approx(0.01, rel=0.05)


def test_a_machine_that_crawls_from_now_on_is_followed_all_the_same():
    speed = fed(Speed(), (10.0, 0.01, 0.03))
    for _ in range(12):
        speed.see(10, 5.0)
    assert speed.step_s == pytest.approx(0.5, rel=0.3)
