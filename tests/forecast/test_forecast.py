import json
import math

import pytest

from traintime.forecast.forecast import Forecast, mixture
from traintime.forecast.kind_share import KindShare
from traintime.hardware.execution import Execution
from traintime.units import Interval


def test_mixture_of_one_interval_is_that_interval():
    only = Interval.lognormal(10.0, 0.1)
    mixed = mixture([(1.0, only)])
    assert mixed.median == pytest.approx(10.0, rel=0.01)
    assert mixed.low == pytest.approx(only.low, rel=0.01)
    assert mixed.high == pytest.approx(only.high, rel=0.01)


def test_mixture_median_lies_in_the_heavier_part():
    early, late = Interval.lognormal(10.0, 0.01), Interval.lognormal(40.0, 0.01)
    mixed = mixture([(0.7, early), (0.3, late)])
    assert mixed.median == pytest.approx(10.0, rel=0.05)
    assert mixed.high == pytest.approx(40.0, rel=0.05)


def test_mixture_is_as_narrow_as_what_is_left_out():
    parts = [(1.0, Interval.lognormal(float(at), 0.01)) for at in range(10, 110)]
    wide, narrow = mixture(parts), mixture(parts, tail=0.2)
    assert narrow.median == wide.median
    assert wide.low == pytest.approx(20.0, rel=0.05)
    assert narrow.low == pytest.approx(30.0, rel=0.05)
    assert narrow.high == pytest.approx(90.0, rel=0.05)
    assert narrow.level == wide.level


def test_mixture_ignores_parts_without_weight():
    mixed = mixture([(0.0, Interval.lognormal(1.0, 0.1)), (2.0, Interval.lognormal(5.0, 0.001))])
    assert mixed.low == pytest.approx(5.0, rel=0.01)


def test_forecast_survives_json():
    second = Interval(1.0, 0.9, 1.2)
    forecast = Forecast(
        evidence="measured on this machine",
        assumptions=("quiet",),
        execution=Execution("cpu", "bf16", "channels_last", fused=True),
        picks=(),
        total_s=second,
        time_to_target_s=None,
        chance_of_target=None,
        time_to_end_s=second,
        stages_s={"train": second},
        step_time_s=second,
        step_by_kind=(KindShare("convolution", 0.5, 0.5),),
        peak_memory_bytes=second,
        memory_by_part={"weights": 4.0},
        parameters=1,
        steps_per_epoch=10,
        epochs=2,
    )
    assert Forecast.from_json(json.loads(json.dumps(forecast.to_json()))) == forecast
    assert forecast.bound_by == "convolution"
    assert math.isclose(forecast.total_s.high, 1.2)
