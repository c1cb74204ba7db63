import math

import pytest

from traintime.errors import InputError
from traintime.forecast.data_parallel import (
    LATENCY_S,
    Exchange,
    all_reduce_s,
    deviations_of_slowest,
    exchange_parameters,
    exposed_exchange_s,
    link_between,
    network_bytes_per_s,
    with_spread,
)
from traintime.hardware.devices import DeviceCount, devices, find_device
from traintime.units import Interval

from .synthetic_device import card

BY_HAND = Exchange(
    link_share=0.65,
    slot_share=0.5,
    host_bytes_per_s=5e9,
    network_share=0.9,
    hidden_share=0.25,
    prefetched_share=0.75,
    jitter=0.02,
    jitter_spread=0.01,
    link_spread=0.5,
    shared_spread=0.3,
    sources=("by hand",),
)


def cards(count: int, **changes) -> DeviceCount:
    return DeviceCount(card(**changes), count)


def test_a_ring_moves_twice_all_but_one_part():
    # 2 · 7/8 · 65 MB over 100 GB/s · 0.65 are 1.75 ms, and the latency
    assert all_reduce_s(65e6, cards(8), BY_HAND).median == pytest.approx(1.75e-3 + LATENCY_S)
    assert all_reduce_s(65e6, cards(2), BY_HAND).median == pytest.approx(1e-3 + LATENCY_S)


def test_nodes_exchange_their_shares_over_the_network():
    # beside 1.75 ms within each: 2 · 1/2 · 65/8 MB over 25 GB/s · 0.9, and the latency twice
    network_s = 65e6 / 8 / 22.5e9
    expected_s = 1.75e-3 + network_s + 2 * LATENCY_S
    assert all_reduce_s(65e6, cards(16), BY_HAND).median == pytest.approx(expected_s)


def test_chips_of_a_pod_need_no_network():
    pod = DeviceCount(find_device("tpu-v4"), 256)
    link = 300e9 / 2 * 0.65
    expected_s = 2 * 255 / 256 * 1e9 / link + LATENCY_S
    assert all_reduce_s(1e9, pod, BY_HAND).median == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("changes", "bytes_per_s"),
    [
        ({}, 65e9),  # 200 GB/s both ways together
        ({"interconnect": "RoCE 24x100GbE", "interconnect_bytes_per_s": 300e9}, 195e9),
        ({"interconnect": "PCIe4 x16", "interconnect_bytes_per_s": 32e9}, 16e9),
        ({"interconnect": "NVLink bridge", "interconnect_bytes_per_s": 112.5e9}, 16e9),
        ({"interconnect": "NVLink bridge", "architecture": "Turing"}, 8e9),
        ({"interconnect": "NVLink bridge", "architecture": "Hopper"}, 32e9),
    ],
)
def test_a_link_is_counted_in_one_direction_by_what_it_sustains(changes, bytes_per_s: float):
    assert link_between(cards(2, **changes), BY_HAND).bytes_per_s == pytest.approx(bytes_per_s)


@pytest.mark.parametrize(
    ("device", "through_the_host"),
    [
        ("rtx-2080-ti", True),
        ("rtx-4090", True),
        ("titan-rtx", True),
        ("gtx-1080-ti", False),
        ("titan-v", False),
        ("rtx-a4000", False),
        ("t4", False),
    ],
)
def test_gaming_cards_since_2018_exchange_through_the_host(device: str, through_the_host: bool):
    link = link_between(DeviceCount(find_device(device), 2), BY_HAND)
    assert (link.bytes_per_s == 5e9) == through_the_host
    assert ("host's memory" in link.name) == through_the_host


def test_what_ties_devices_must_be_known():
    with pytest.raises(InputError, match=r"how several Card are tied together\. Type device=card"):
        link_between(cards(2, interconnect="", interconnect_bytes_per_s=None), BY_HAND)


def test_newer_systems_have_faster_adapters():
    years = (2017, 2020, None, 2022)
    rates = [network_bytes_per_s(card(year=year)) for year in years]
    assert rates == [6.25e9, 25e9, 25e9, 50e9]


def test_one_device_exchanges_nothing():
    assert exposed_exchange_s(1e9, cards(1), 1.0, BY_HAND) == Interval(0.0, 0.0, 0.0)


def test_the_slowest_of_more_devices_is_further_above_their_mean():
    # expected largest of so many normal values: 0.564, 1.424 and 3.241
    deviations = [deviations_of_slowest(count) for count in (1, 2, 8, 1000)]
    assert deviations == pytest.approx([0.0, 0.564, 1.424, 3.241], rel=0.05)


def test_a_long_backward_hides_its_share_of_the_exchange():
    whole_s = all_reduce_s(1e9, cards(8), BY_HAND).median
    assert exposed_exchange_s(1e9, cards(8), 10.0, BY_HAND).median == pytest.approx(0.75 * whole_s)


def test_a_short_backward_hides_no_more_than_its_share_lasts():
    whole_s = all_reduce_s(1e9, cards(8), BY_HAND).median
    assert exposed_exchange_s(1e9, cards(8), 0.0, BY_HAND).median == pytest.approx(whole_s)
    found = exposed_exchange_s(1e9, cards(8), whole_s / 2, BY_HAND).median
    assert found == pytest.approx(whole_s * (1 - 0.25 / 2))


def test_the_exchange_is_as_uncertain_as_what_it_goes_over():
    on_links = exposed_exchange_s(1e9, cards(8), 10.0, BY_HAND)
    assert on_links.sigma == pytest.approx(BY_HAND.link_spread, rel=0.01)
    gaming = DeviceCount(find_device("rtx-4090"), 8)
    through_host = exposed_exchange_s(1e9, gaming, 10.0, BY_HAND)
    assert through_host.sigma == pytest.approx(BY_HAND.shared_spread, rel=0.01)
    nodes = exposed_exchange_s(1e9, cards(16), 10.0, BY_HAND)
    assert BY_HAND.shared_spread < nodes.sigma < BY_HAND.link_spread


def test_independent_spreads_add_up_in_squares_on_either_side():
    one = Interval.lognormal(2.0, 0.3)
    assert with_spread(one, 0.4).sigma == pytest.approx(0.5)
    assert with_spread(one, 0.4).median == 2.0
    lopsided = with_spread(Interval(2.0, 2.0, one.high), 0.4)
    assert lopsided.low == pytest.approx(Interval.lognormal(2.0, 0.4).low)
    assert lopsided.high == pytest.approx(Interval.lognormal(2.0, 0.5).high)


def test_what_ships_is_possible():
    shipped = exchange_parameters()
    for share in (shipped.link_share, shipped.slot_share, shipped.network_share):
        assert 0 < share <= 1
    assert 0 <= shipped.hidden_share <= 1
    assert 1e9 < shipped.host_bytes_per_s < 32e9
    assert shipped.sources


def test_every_device_whose_link_is_known_takes_longer_over_a_slower_one():
    shipped = exchange_parameters()
    for spec in devices():
        if spec.interconnect_bytes_per_s:
            pair = DeviceCount(spec, 2)
            assert 0 < link_between(pair, shipped).bytes_per_s <= spec.interconnect_bytes_per_s
            assert math.isfinite(all_reduce_s(1e8, pair, shipped).high)
