import dataclasses
import math
from dataclasses import replace

import pytest

from traintime.hardware.processor import ProcessorRates, slowness, typical, unsteadiness

RATES = ProcessorRates(100e9, 200e9, 10e9, 40e9, 2e-6, 5e-6)


def test_a_look_that_something_disturbed_does_not_count():
    disturbed = ProcessorRates(1e9, 1e9, 1e9, 1e9, 1.0, 1.0)
    assert typical([RATES, disturbed, RATES]) == RATES


def test_the_cores_wait_as_long_as_sharing_costs_beyond_a_call():
    assert RATES.wait_s == pytest.approx(3e-6)


def test_a_core_that_was_taken_away_meanwhile_is_no_wait():
    assert replace(RATES, parallel_call_s=8e-3).wait_s < 1e-5


def test_a_processor_twice_as_fast_calls_in_half_the_time():
    fast = RATES.scaled_by(2.0)
    assert fast.product_flops == 200e9
    assert fast.call_s == 1e-6


def test_unsteadiness_is_what_most_rates_vary_by():
    steady = ProcessorRates(1e11, 2e11, 5e10, 2e11, 2e-6, 4e-6)
    assert unsteadiness([steady, steady]) == 0.0  # too few looks to tell
    assert unsteadiness([steady] * 5) == 0.0
    looks = [steady.scaled_by(math.exp(0.1 * sign)) for sign in (-1, 0, 1)]
    assert unsteadiness(looks) == pytest.approx(0.1)
    one_rate = [dataclasses.replace(steady, call_s=seconds) for seconds in (1e-6, 2e-6, 9e-6)]
    assert unsteadiness(one_rate) == 0.0


def test_slowness_is_that_of_most_rates():
    assert slowness(RATES.scaled_by(0.5), RATES) == pytest.approx(2.0)
    assert slowness(dataclasses.replace(RATES, call_s=1.0), RATES) == pytest.approx(1.0)
