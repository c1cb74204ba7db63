from itertools import pairwise

import pytest

from traintime.forecast.kernel_time import (
    bandwidth_gain,
    kernel_seconds,
    loading,
    no_faster,
    num_tiles,
    share_of_side,
    share_of_waves,
    stretch,
    widening,
)


@pytest.mark.parametrize(
    ("overlap", "seconds"), [(1.0, 7.0), (2.0, 5.0), (64.0, pytest.approx(4.0, rel=1e-9))]
)
def test_overlap_joins_three_and_four_seconds(overlap: float, seconds: float):
    assert kernel_seconds(3.0, 4.0, overlap) == pytest.approx(seconds)


def test_a_kernel_without_arithmetic_takes_its_traffic():
    assert kernel_seconds(0.0, 4.0, 2.0) == 4.0


def test_a_short_inner_side_leaves_half_of_the_rate_at_its_half():
    assert share_of_side(64.0, 64.0) == 0.5
    assert share_of_side(3.0, 0.0) == 1.0


def test_a_tile_loads_its_values_as_often_as_its_sides_are_short():
    assert loading(128.0, 64.0, 32.0, 32.0) == pytest.approx(0.25 + 0.5)
    assert loading(128.0, 64.0, 32.0, 32.0, value_bytes=4.0) == pytest.approx(1.5)


@pytest.mark.parametrize(("overlap", "longer"), [(1.0, 1.75), (2.0, 1.25), (64.0, 1.0)])
def test_loading_that_takes_three_quarters_of_the_arithmetic_is_hidden_as_far_as_both_overlap(
    overlap: float, longer: float
):
    assert stretch(0.75, overlap) == pytest.approx(longer)


@pytest.mark.parametrize("overlap", [1.0, 3.0, 6.0])
def test_a_faster_core_never_takes_longer_however_small_its_tiles(overlap: float):
    def seconds(core_flops: float) -> float:
        return stretch(widening(core_flops, 1.0) * 20.0, overlap) / core_flops

    rates = [1e11 * 2**n for n in range(10)]
    assert all(seconds(fast) <= seconds(slow) for slow, fast in pairwise(rates))


@pytest.mark.parametrize("seconds", [1e-3, 0.5, 1.0, 3.0])
def test_no_time_is_below_the_least_there_can_be(seconds: float):
    assert no_faster(seconds, 1.0, 8.0) >= 1.0


def test_far_above_the_least_a_time_is_as_it_was():
    assert no_faster(3.0, 1.0, 8.0) == pytest.approx(3.0, rel=1e-4)
    assert no_faster(1.0, 1.0, 8.0) == pytest.approx(2 ** (1 / 8))


def test_many_products_fill_the_cores_that_one_leaves_idle():
    def share(batch: float) -> float:
        return share_of_waves(num_tiles(batch, 128.0, 128.0, 64.0), 100.0, 1.0)

    assert share(1.0) == pytest.approx(0.04 / 1.04)
    assert share(25.0) == pytest.approx(0.5)


def test_a_long_inner_side_is_split_among_cores_that_would_be_idle():
    def share(inner: float) -> float:
        return share_of_waves(num_tiles(1.0, 128.0, 128.0, inner, 1000.0), 100.0, 1.0)

    # 4 tiles of 1 + 24 parts each are one wave over 100 cores
    assert share(24_000.0) == pytest.approx(0.5)
    assert share(1.0) == pytest.approx(0.04 / 1.04, rel=1e-2)


def test_traffic_that_stays_in_the_cache_is_faster():
    assert bandwidth_gain(0.0, 3.0, 1e6) == 4.0
    assert bandwidth_gain(1e6, 3.0, 1e6) == 2.5
    assert bandwidth_gain(1e12, 3.0, 1e6) == pytest.approx(1.0, rel=1e-5)


def test_a_core_four_times_as_fast_needs_tiles_twice_as_wide_where_caches_keep_half_of_the_pace():
    assert widening(4e12, 0.5) / widening(1e12, 0.5) == pytest.approx(2.0)
    assert widening(4e12, 0.0) == widening(1e12, 0.7) == 1.0
