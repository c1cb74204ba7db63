import math

from traintime.clock.thinned import MOST_POINTS, Point, Thinned


def test_short_curve_is_kept_as_it_is() -> None:
    curve = Thinned()
    curve.add(1.0, 5.0)
    curve.add(2.0, 7.0)
    assert curve.points() == (Point(1.0, 5.0, 5.0, 5.0), Point(2.0, 7.0, 7.0, 7.0))


def test_long_curve_keeps_means_and_extremes_in_bounded_memory() -> None:
    curve = Thinned()
    for x in range(100_000):
        curve.add(x, 1000.0 if x == 77_777 else x % 2)
    points = curve.points()
    assert MOST_POINTS / 2 <= len(points) <= MOST_POINTS
    assert max(point.high for point in points) == 1000
    assert {point.low for point in points[:-1]} == {0.0}
    assert math.isclose(points[0].y, 0.5)
    assert points[-1].x > 99_000
    assert [point.x for point in points] == sorted(point.x for point in points)


def test_values_that_are_missing_or_not_finite_are_left_out() -> None:
    curve = Thinned()
    for y in (None, math.nan, math.inf):
        curve.add(1.0, y)
    curve.add(None, 1.0)
    assert curve.points() == ()
