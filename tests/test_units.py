import math

import pytest

from traintime.units import (
    Interval,
    format_bytes,
    format_count,
    format_duration,
    format_interval,
    format_percent,
    format_rate,
)

Z_90 = 1.2815516  # 90 % of a normal distribution lie below: the upper end of a central 80 %


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (1.5e-6, "1.5 µs"),
        (42e-6, "42 µs"),
        (0.0123, "12.3 ms"),
        (0.85, "850 ms"),
        (1, "1 s"),
        (9.53, "9.5 s"),
        (17.04, "17 s"),
        (19.6, "19.6 s"),
        (21.0, "21 s"),
        (65, "65 s"),
        (125, "2 m 05 s"),
        (600, "10 m 00 s"),
        (11_400, "3 h 10 m"),
        (187_200, "2 d 4 h"),
        (40_000_000, "462 d 23 h"),
    ],
)
def test_a_duration_is_shown_as_people_say_it(seconds: float, shown: str):
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (999.4e-6, "999 µs"),
        (999.6e-6, "1 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (9.96, "10 s"),
        (59.96, "60 s"),
        (99.94, "99.9 s"),
        (99.96, "1 m 40 s"),
        (119.6, "2 m 00 s"),
        (3599.4, "59 m 59 s"),
        (3599.6, "1 h 00 m"),
        (7199, "2 h 00 m"),
        (47 * 3600 + 59.4 * 60, "47 h 59 m"),
        (47 * 3600 + 59.9 * 60, "2 d 0 h"),
        (71.6 * 3600, "3 d 0 h"),
    ],
)
def test_rounding_up_reaches_the_next_unit_and_never_60_of_one(seconds: float, shown: str):
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(math.inf, "never"), (math.nan, "?")])
def test_what_is_no_duration_has_a_word_of_its_own(seconds: float, shown: str):
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("median", "low", "high", "shown"),
    [
        (21.3, 17.4, 26.1, "21 s (17-26 s)"),
        (9.53, 8.71, 10.4, "9.5 s (8.7-10 s)"),
        (0.0042, 0.0039, 0.0046, "4.2 ms (3.9-4.6 ms)"),
        (95, 80, 112, "95 s (80 s - 1 m 52 s)"),
        (0.95, 0.8, 1.13, "950 ms (800 ms - 1.1 s)"),
        (300, 240, 375, "5 m 00 s (4 m 00 s - 6 m 15 s)"),
        (7200, 3600, math.inf, "2 h 00 m (1 h 00 m - never)"),
        (20.1, 19.9, 20.3, "20 s"),
        (math.inf, math.inf, math.inf, "never"),
    ],
)
def test_an_interval_names_its_unit_once_if_both_ends_share_it(median, low, high, shown):
    assert format_interval(Interval(median, low, high)) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (61.7 * 2**20, "61.7 MiB"),
        (1000 * 2**20, "1,000 MiB"),
        (139 * 2**30, "139 GiB"),
        (1000 * 2**30, "1,000 GiB"),
        (4000 * 2**30, "3.91 TiB"),
    ],
)
def test_bytes_have_binary_units(count: float, shown: str):
    assert format_bytes(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (999.4, "999"),
        (999.9, "1 k"),
        (61_706, "61.7 k"),
        (999_400, "999 k"),
        (999_950, "1 M"),
        (11_173_962, "11.2 M"),
        (2.5e15, "2,500 T"),
    ],
)
def test_counts_have_three_digits_and_a_suffix(count: float, shown: str):
    assert format_count(count) == shown


def test_a_rate_is_a_count_per_second():
    assert format_rate(228e9) == "228 GFLOP/s"
    assert format_rate(500) == "500 FLOP/s"


def test_a_share_is_shown_as_a_percentage():
    assert format_percent(0.9912) == "99.1 %"
    assert format_percent(0.9912, digits=0) == "99 %"


def test_a_lognormal_interval_ends_at_its_quantiles():
    interval = Interval.lognormal(100, 0.1)
    # exp(0.1 · 1.2815516) = 1.1367294
    assert interval.high == pytest.approx(113.67294)
    assert interval.low == pytest.approx(100 / 1.1367294)
    assert interval.median == 100
    assert interval.level == 0.8


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_an_interval_gives_back_the_sigma_it_was_made_with(level: float):
    assert Interval.lognormal(7, 0.3, level).sigma == pytest.approx(0.3)


def test_sigma_follows_from_the_width_by_hand():
    assert Interval(2, 1, 4).sigma == pytest.approx(math.log(4) / (2 * Z_90))


def test_an_interval_that_reaches_zero_has_no_finite_sigma():
    assert Interval(1, 0, 2).sigma == math.inf


def test_certainty_is_an_interval_without_width():
    assert Interval.lognormal(5, 0) == Interval(5, 5, 5)
    assert Interval(5, 5, 5).sigma == 0


def test_both_ends_lie_inside_an_interval():
    interval = Interval(2, 1, 4)
    assert all(value in interval for value in (1, 2, 4))
    assert all(value not in interval for value in (0.999, 4.001, math.nan))


def test_scaling_keeps_sigma_and_shifting_keeps_the_width():
    interval = Interval(2, 1, 4)
    assert interval.scaled(3) == Interval(6, 3, 12)
    assert interval.scaled(3).sigma == pytest.approx(interval.sigma)
    assert interval.shifted(10) == Interval(12, 11, 14)


def test_an_interval_out_of_order_is_our_own_mistake():
    with pytest.raises(AssertionError, match="not ordered"):
        Interval(1, 2, 3)
