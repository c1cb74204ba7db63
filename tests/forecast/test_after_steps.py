import dataclasses

import pytest

from tests.report.synthetic_device_forecast import device_forecast
from traintime.forecast.after_steps import after_steps
from traintime.forecast.device_parameters import RUNNING
from traintime.units import GIB


def test_what_was_seen_replaces_what_the_law_said():
    before = device_forecast()
    step_s = 2 * before.step_time_s.median
    after = after_steps(before, step_s, None, 0.03, "10 steps were taken")
    assert after.evidence == RUNNING
    assert after.assumptions[0] == "10 steps were taken"
    assert after.step_time_s.median == pytest.approx(step_s)
    assert after.total_s.median == pytest.approx(2 * before.total_s.median)
    assert after.total_s.sigma == pytest.approx(0.03)
    assert after.samples_per_s == pytest.approx(before.samples_per_s / 2)
    assert after.utilization == pytest.approx(before.utilization / 2)
    assert sum(share.seconds for share in after.step_by_kind) == pytest.approx(
        2 * sum(share.seconds for share in before.step_by_kind)
    )
    assert after.kernels[0].seconds == pytest.approx(2 * before.kernels[0].seconds)
    assert after.peak_memory_bytes == before.peak_memory_bytes


def test_memory_that_was_seen_is_what_its_parts_sum_to():
    before = device_forecast(capacity_bytes=24 * GIB)
    after = after_steps(before, 1.0, 20.0 * GIB, 0.03, "")
    context = before.memory_by_part.get("context", 0.0)
    assert sum(after.memory_by_part.values()) == pytest.approx(20 * GIB + context)
    assert after.peak_memory_bytes.median == pytest.approx(20 * GIB + context)
    assert after.chance_it_fits is not None
    assert after.fits == (after.peak_memory_bytes.median < 24 * GIB)
    assert dataclasses.asdict(after).keys() == dataclasses.asdict(before).keys()
