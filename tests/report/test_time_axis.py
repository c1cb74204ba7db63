import itertools

import pytest

from traintime.report.page.time_axis import MOST_TICKS, TimeAxis, time_axis
from traintime.units import Interval


def around(*medians: float) -> TimeAxis:
    return time_axis([Interval(median, 0.8 * median, 1.25 * median) for median in medians])


def test_times_that_differ_little_stand_on_a_linear_axis():
    axis = TimeAxis(0.0, 400.0, is_log=False)
    assert [axis.place(seconds) for seconds in (0.0, 100.0, 400.0, 500.0)] == [0, 25, 100, 100]
    assert axis.ticks == {"0": 0.0, "1 m": 15.0, "2 m": 30.0, "3 m": 45.0, "4 m": 60.0} | {
        "5 m": 75.0,
        "6 m": 90.0,
    }


def test_times_that_differ_much_stand_on_a_logarithmic_axis():
    axis = TimeAxis(1.0, 10_000.0, is_log=True)
    assert [axis.place(seconds) for seconds in (0.1, 1.0, 100.0, 10_000.0)] == [0, 0, 50, 100]


@pytest.mark.parametrize(("ratio", "is_log"), [(29.0, False), (30.0, False), (31.0, True)])
def test_the_axis_is_logarithmic_from_thirty_times(ratio: float, is_log: bool):
    assert around(1.0, ratio).is_log is is_log


@pytest.mark.parametrize("median", [1e-5, 0.003, 0.7, 30.0, 5_000.0, 9e4, 2e6, 1e9])
@pytest.mark.parametrize("ratio", [1.0, 3.0, 40.0, 1e4, 1e8])
def test_ticks_are_few_round_and_apart(median: float, ratio: float):
    axis = around(median, median * ratio)
    places = list(axis.ticks.values())
    assert 2 <= len(places) <= MOST_TICKS + 1
    assert all(0 <= place <= 100 for place in places)
    assert all(b - a >= 100 / MOST_TICKS - 0.1 for a, b in itertools.pairwise(places))
    assert not any("." in label or "e" in label for label in axis.ticks)


def test_every_interval_ends_on_the_axis():
    axis = around(10.0, 1_000.0)
    assert 0 < axis.place(8.0) < axis.place(10.0) < axis.place(1_250.0) < 100
