import math
import random

import pytest

from traintime.forecast.intervals import conformal_quantile, conformal_sigma
from traintime.units import Interval


@pytest.mark.parametrize(
    ("scores", "level", "quantile"),
    [([1, 2, 3, 4], 0.8, 4), ([3, 1, 2], 0.5, 2), ([7], 0.8, 7), (range(1, 100), 0.8, 80)],
)
def test_the_quantile_counts_the_case_that_is_still_to_come(scores, level: float, quantile: float):
    assert conformal_quantile(scores, level) == quantile


def test_no_scores_are_refused():
    with pytest.raises(ValueError, match="no scores"):
        conformal_quantile([])


def test_the_interval_of_sigma_covers_four_in_five():
    draw = random.Random(0)
    seen, to_come = ([draw.gauss(0, 0.3) for _ in range(4_000)] for _ in range(2))
    interval = Interval.lognormal(1.0, conformal_sigma(seen))
    assert sum(math.exp(error) in interval for error in to_come) / 4_000 == pytest.approx(
        0.8, abs=0.02
    )
