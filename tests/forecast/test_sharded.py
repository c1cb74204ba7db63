import dataclasses

import pytest

from traintime.errors import InputError
from traintime.forecast.data_parallel import (
    LATENCY_S,
    all_reduce_s,
    exchange_parameters,
    exposed_exchange_s,
    passes_s,
)
from traintime.forecast.job_step import predict_job_step
from traintime.forecast.sharded import Work, step_exchange_s, value_bytes
from traintime.hardware.devices import DeviceCount
from traintime.units import Interval

from .synthetic_device import blocks, card, graph, job, model, parameters

EXCHANGE = dataclasses.replace(
    exchange_parameters(),
    link_share=0.5,
    hidden_share=0.25,
    prefetched_share=0.9,
    link_spread=0.0,
)
PARAMETERS = 1_000_000_000
FOUR = DeviceCount(card(), 4)
# a pass over 4 GB: 3/4 of them at half of 100 GB/s
PASS_S = 0.06


def exchanged(sharding, work: Work, precision="fp32", device=FOUR, **changes) -> float:
    captured = graph(parameters=PARAMETERS, **changes)
    return step_exchange_s(sharding, captured, precision, device, work, EXCHANGE).median


NOTHING_BESIDE = Work(0.0, 0.0, 1)


def test_two_passes_are_an_all_reduce():
    one = passes_s(1, 4e9, FOUR, EXCHANGE).median
    assert one == pytest.approx(PASS_S + LATENCY_S)
    assert all_reduce_s(4e9, FOUR, EXCHANGE).median == pytest.approx(2 * PASS_S + LATENCY_S)


def test_the_optimizer_divided_sends_as_much_as_gradients_that_are_summed():
    summed = exchanged("none", NOTHING_BESIDE)
    assert summed == pytest.approx(2 * PASS_S, rel=1e-3)
    assert exchanged("optimizer", NOTHING_BESIDE) == pytest.approx(summed, rel=1e-3)


def test_all_divided_sends_half_as_much_again():
    assert exchanged("full", NOTHING_BESIDE) == pytest.approx(3 * PASS_S, rel=1e-2)


def test_sixteen_bits_halve_what_is_gathered_and_not_what_is_summed_alone():
    assert exchanged("full", NOTHING_BESIDE, "amp") == pytest.approx(1.5 * PASS_S, rel=1e-2)
    assert exchanged("none", NOTHING_BESIDE, "amp") == pytest.approx(2 * PASS_S, rel=1e-2)
    assert [value_bytes(precision) for precision in ("fp32", "tf32", "amp", "half")] == [4, 4, 2, 2]


def test_each_micro_batch_gathers_anew():
    once, thrice = (exchanged("full", Work(0.0, 0.0, count)) for count in (1, 3))
    assert thrice == pytest.approx(3 * once)
    once, thrice = (exchanged("optimizer", Work(0.0, 0.0, count)) for count in (1, 3))
    assert thrice == pytest.approx(once)


def test_what_is_gathered_ahead_is_hidden_as_long_as_work_lasts():
    long = exchanged("full", Work(10.0, 20.0, 1))
    assert long == pytest.approx(0.1 * 3 * PASS_S, rel=1e-2)
    short = exchanged("full", Work(0.01, 0.02, 1))
    assert short == pytest.approx(3 * PASS_S - 0.9 * 0.03, rel=1e-2)


def test_new_weights_are_gathered_beside_nothing():
    work = Work(10.0, 20.0, 1)
    assert exchanged("optimizer", work) == pytest.approx(PASS_S * (0.75 + 1), rel=1e-3)


def test_nothing_divided_is_what_it_was():
    work = Work(0.1, 0.2, 1)
    assert exchanged("none", work) == exposed_exchange_s(4e9, FOUR, 0.2, EXCHANGE).median


def test_each_block_is_a_message():
    more = exchanged("full", NOTHING_BESIDE, blocks=blocks(count=9))
    assert more - exchanged("full", NOTHING_BESIDE) == pytest.approx(3 * 9 * LATENCY_S)


@pytest.mark.parametrize("sharding", ["none", "optimizer", "full"])
def test_one_device_sends_nothing(sharding):
    alone = exchanged(sharding, NOTHING_BESIDE, device=DeviceCount(card()))
    assert alone == 0.0


def test_devices_tied_together_nobody_knows_how_are_refused():
    untied = DeviceCount(card(interconnect_bytes_per_s=None), 4)
    with pytest.raises(InputError, match="tied together"):
        exchanged("full", NOTHING_BESIDE, device=untied)


def test_sums_of_intervals_add_their_ends():
    assert Interval(2, 1, 4).plus(Interval(20, 10, 40)) == Interval(22, 11, 44)


@pytest.mark.parametrize(("sharding", "parts"), [("none", 1), ("optimizer", 4), ("full", 4)])
def test_each_device_updates_its_part_alone(sharding, parts: int):
    law = parameters()
    sized = model()("amp", 3)
    step = predict_job_step(job(sharding=sharding), sized, FOUR, "amp", law, EXCHANGE)
    assert step.one.update_s == pytest.approx(2e-5 / parts)
