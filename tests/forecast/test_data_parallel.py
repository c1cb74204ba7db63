import pytest

from traintime.errors import InputError
from traintime.forecast.data_parallel import (
    BUCKET_BYTES,
    all_reduce_s,
    exposed_all_reduce_s,
    link_bytes_per_s,
)
from traintime.hardware.devices import DeviceCount, find_device

from .synthetic_device import card


def cards(count: int, **changes) -> DeviceCount:
    return DeviceCount(card(**changes), count)


def test_a_ring_moves_twice_all_but_one_part():
    # 2 · 7/8 · 65 MB over 100 GB/s · 0.65 are 1.75 ms, and 10 µs
    assert all_reduce_s(65e6, cards(8)) == pytest.approx(1.75e-3 + 10e-6)
    assert all_reduce_s(65e6, cards(2)) == pytest.approx(1e-3 + 10e-6)


def test_nodes_exchange_their_shares_over_the_network():
    # beside 1.76 ms within each: 2 · 1/2 · 65/8 MB over 25 GB/s · 0.9, and 20 µs
    network_s = 65e6 / 8 / 22.5e9 + 20e-6
    assert all_reduce_s(65e6, cards(16)) == pytest.approx(1.76e-3 + network_s)


def test_chips_of_a_pod_need_no_network():
    pod = DeviceCount(find_device("tpu-v4"), 256)
    link = 300e9 / 2 * 0.65
    assert all_reduce_s(1e9, pod) == pytest.approx(2 * 255 / 256 * 1e9 / link + 10e-6)


@pytest.mark.parametrize(
    ("changes", "count", "bytes_per_s"),
    [
        ({}, 8, 100e9),  # both ways together
        ({"interconnect": "PCIe4 x16", "interconnect_bytes_per_s": 32e9}, 8, 32e9),
        ({"interconnect": "RoCE 24x100GbE", "interconnect_bytes_per_s": 300e9}, 8, 300e9),
        ({"interconnect": "NVLink bridge", "interconnect_bytes_per_s": 112.5e9}, 2, 56.25e9),
        ({"interconnect": "NVLink bridge", "interconnect_bytes_per_s": 112.5e9}, 3, 32e9),
        ({"interconnect": "NVLink bridge", "architecture": "Turing"}, 4, 16e9),
        ({"interconnect": "NVLink bridge", "architecture": "Hopper"}, 4, 64e9),
    ],
)
def test_a_link_is_counted_in_one_direction(changes, count: int, bytes_per_s: float):
    assert link_bytes_per_s(cards(count, **changes)) == bytes_per_s


def test_what_ties_devices_must_be_known():
    with pytest.raises(InputError, match=r"how several Card are tied together\. Type device=card"):
        link_bytes_per_s(cards(2, interconnect="", interconnect_bytes_per_s=None))


def test_one_device_exchanges_nothing():
    assert exposed_all_reduce_s(1e9, cards(1), 1.0) == 0.0


def test_a_long_backward_hides_all_but_the_last_bucket():
    one_s = all_reduce_s(BUCKET_BYTES, cards(8))
    assert exposed_all_reduce_s(4 * BUCKET_BYTES, cards(8), 1.0) == pytest.approx(one_s)


def test_a_short_backward_hides_next_to_nothing():
    one_s = all_reduce_s(BUCKET_BYTES, cards(8))
    assert exposed_all_reduce_s(4 * BUCKET_BYTES, cards(8), 0.0) == pytest.approx(4 * one_s)
    # the first of four buckets is ready after a quarter of the backward
    half_s = exposed_all_reduce_s(4 * BUCKET_BYTES, cards(8), one_s)
    assert half_s == pytest.approx(4 * one_s - 0.75 * one_s)
