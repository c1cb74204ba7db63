import math
from dataclasses import replace

import pytest

from traintime.forecast.convergence import Curve
from traintime.forecast.earlier_runs import (
    REPEATED_SIGMA,
    SEED_SIGMA,
    EarlierRun,
    with_earlier,
)
from traintime.recipe import Target

PRESET = Curve((math.log(0.2), math.log(0.1), math.log(0.05)), (0.2, 0.2, 0.2), "preset", 5.0)
RUN = EarlierRun("one", (0.8, 0.92, 0.96), is_same=False)


def errors(curve: Curve) -> list[float]:
    return [math.exp(value) for value in curve.log_errors]


def test_without_runs_the_preset_is_what_is_known():
    assert with_earlier(PRESET, [], 3, "accuracy") is PRESET
    assert with_earlier(None, [], 3, "accuracy") is None


def test_a_run_counts_as_one_beside_what_the_preset_is_worth():
    curve = with_earlier(PRESET, [RUN], 3, "accuracy")
    assert curve
    assert curve.log_errors[1] == pytest.approx((5 * math.log(0.1) + math.log(0.08)) / 6)
    assert curve.sigmas[1] == pytest.approx(0.2 * math.sqrt(1 + 1 / 6))
    assert curve.worth == 6.0
    assert curve.source == "1 earlier run of this recipe; preset"


def test_a_recipe_without_preset_is_known_after_one_run():
    curve = with_earlier(None, [RUN], 3, "accuracy")
    assert curve
    assert errors(curve) == pytest.approx([0.2, 0.08, 0.04])
    assert curve.sigmas == pytest.approx([SEED_SIGMA * math.sqrt(2)] * 3)


def test_what_runs_differ_by_is_learned():
    others = [replace(RUN, values=(0.8, value, 0.96)) for value in (0.5, 0.9, 0.95, 0.99, 0.6)]
    curve = with_earlier(PRESET, others, 3, "accuracy")
    assert curve
    assert curve.sigmas[1] > 2 * curve.sigmas[0]


def test_one_seed_says_a_thing_once():
    once, again = (with_earlier(PRESET, [RUN] * n, 3, "accuracy") for n in (1, 9))
    assert once == again


def test_a_run_that_ended_at_its_target_tells_nothing_of_later_epochs():
    short = replace(RUN, values=(0.8, 0.92))
    assert with_earlier(None, [short], 3, "accuracy") is None
    curve = with_earlier(PRESET, [short], 3, "accuracy")
    assert curve
    assert curve.log_errors[2] == PRESET.log_errors[2]


def test_a_job_that_was_run_before_goes_as_it_went():
    same = replace(RUN, is_same=True)
    curve = with_earlier(PRESET, [RUN, same], 3, "accuracy")
    assert curve
    assert errors(curve) == pytest.approx([0.2, 0.08, 0.04])
    assert curve.sigmas == (REPEATED_SIGMA,) * 3
    assert curve.arrivals(Target("accuracy", 0.91))[1] > 0.99
    assert sum(curve.arrivals(Target("accuracy", 0.97))) < 0.01


def test_beyond_the_end_of_a_repeated_run_the_preset_says_how_it_goes_on():
    same = EarlierRun("one", (0.8, 0.92), is_same=True)
    curve = with_earlier(PRESET, [same], 3, "accuracy")
    assert curve
    assert errors(curve)[2] == pytest.approx(0.08 * 0.05 / 0.1)
    assert curve.sigmas[2] == PRESET.sigmas[2]
    alone = with_earlier(None, [same], 3, "accuracy")
    assert alone
    assert errors(alone)[2] == pytest.approx(0.08)


def test_a_curve_survives_plain_values():
    values = {"log_errors": [0.0], "sigmas": [0.1], "source": "preset", "worth": 2.0}
    assert Curve.from_json(values) == Curve((0.0,), (0.1,), "preset", 2.0)
