"""How long a step takes whose batch is gathered meanwhile; seconds worked by hand."""

import pytest

from traintime.data.input_plan import InputPlan
from traintime.forecast.input_rate import InputRate
from traintime.forecast.step_time import OpTime, StepTime
from traintime.workload.op_graph import Op

STEP = StepTime((OpTime(Op("convolution", "convolution"), 0.1, 0.0),))


def rate(workers: int, core_s: float, disk_s: float = 0.0, *, shares: bool = False) -> InputRate:
    plan = InputPlan("none", workers, "why")
    return InputRate(plan, core_s, disk_s, cores=4, shares_cores=shares)


def test_a_step_takes_the_longer_of_computing_and_gathering():
    assert rate(2, core_s=0.001).together_s(0.1, 64) == 0.1, "64 ms by two take 32"
    assert rate(2, core_s=0.005).together_s(0.1, 64) == pytest.approx(0.16), "320 ms by two"


def test_without_workers_they_take_turns():
    assert rate(0, core_s=0.001).together_s(0.1, 64) == pytest.approx(0.164)


def test_on_a_cpu_what_workers_compute_is_taken_from_the_step():
    shared = rate(2, core_s=0.001, shares=True)
    assert shared.together_s(0.1, 64) == pytest.approx(0.116), "64 ms of one of four cores"


def test_a_disk_is_as_slow_for_many_workers_as_for_one():
    assert rate(4, core_s=0.001, disk_s=0.002).together_s(0.1, 64) == pytest.approx(0.128)


def test_more_workers_than_cores_are_no_faster():
    assert rate(9, core_s=0.01).gathering_s(64) == rate(4, core_s=0.01).gathering_s(64)


def test_the_wait_is_a_part_of_the_step_and_names_its_limit():
    fed = rate(2, core_s=0.01).fed(STEP, 64)
    assert fed.seconds == pytest.approx(0.32)
    assert fed.by_kind() == pytest.approx({"input": 0.22, "convolution": 0.1, "dispatch": 0.0})


def test_it_is_said_when_the_input_limits_and_what_would_help():
    why, limit = rate(2, core_s=0.01).said(0.1, 64)
    assert why == "why"
    assert limit == (
        "the input pipeline limits a step: its batch takes 320 ms to gather, computing 100 ms. "
        "More workers= would help. So would cache=disk."
    )
    assert list(rate(2, core_s=0.001).said(0.1, 64)) == ["why"]
    _, by_disk = rate(2, core_s=0.001, disk_s=0.01).said(0.1, 64)
    assert "workers" not in by_disk


def test_held_are_the_batches_ahead_and_the_one_that_is_used():
    assert rate(2, core_s=0.0).held_bytes(batch_size=10, sample_bytes=100) == 5 * 10 * 100
