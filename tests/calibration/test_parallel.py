import dataclasses
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

import measured_pairs
import parallel
from measured_pairs import ALL, EACH, Pair

GRADIENTS = 25_000_000


@pytest.fixture(autouse=True)
def a_model_of_so_many_gradients(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measured_pairs, "num_parameters", lambda _model, _size: GRADIENTS)


def pair(**changes) -> Pair:
    made = Pair(
        source="lambda",
        machine="by hand",
        model="tv:resnet50",
        size=224,
        device="a100-sxm4-80gb",
        num_devices=8,
        precision="amp",
        memory_format="contiguous",
        batch_size=64,
        phases="train",
        processes=EACH,
        value_bytes=4.0,
        overlaps=True,
        reads_data=True,
        fewer_s=0.2,
        seconds=0.21,
    )
    return dataclasses.replace(made, **changes)


def measured_by(exchange: parallel.Exchange, **changes) -> Pair:
    """Return a pair that a law with these parameters would have been measured to be."""
    without = pair(**changes)
    return dataclasses.replace(without, seconds=parallel.forecast(without, exchange).median)


SYSTEMS = (
    {"device": "rtx-4090", "num_devices": 2, "fewer_s": 0.1},
    {"device": "rtx-3090", "num_devices": 8, "fewer_s": 0.4},
    {"device": "rtx-a4000", "num_devices": 4, "fewer_s": 0.05},
    {"device": "a40", "num_devices": 2, "fewer_s": 0.02},
    {"num_devices": 8, "fewer_s": 0.02},
    {"num_devices": 4, "fewer_s": 2.0},
    {"num_devices": 256, "fewer": 8, "fewer_s": 0.1},
    {"device": "rtx-3080", "num_devices": 2, "overlaps": False, "processes": ALL},
)


def test_a_fit_finds_the_parameters_that_made_its_rows():
    truth = dataclasses.replace(
        parallel.START, link_share=0.3, slot_share=0.4, host_bytes_per_s=4e9, jitter=0.03
    )
    rows = [measured_by(truth, **changes) for changes in SYSTEMS]
    found = parallel.fit(rows)
    for row in rows:
        assert parallel.forecast(row, found).median == pytest.approx(row.seconds, rel=0.01)
    assert found.host_bytes_per_s == pytest.approx(4e9, rel=0.1)
    assert found.jitter == pytest.approx(0.03, rel=0.1)


def test_what_fewer_devices_cost_is_taken_off_before_more_are_forecast():
    same = pair(num_devices=64, fewer=64)
    assert parallel.forecast(same, parallel.START).median == pytest.approx(same.fewer_s)
    more = pair(num_devices=64, fewer=8)
    from_one = pair(num_devices=64, fewer=1)
    assert (
        more.fewer_s
        < parallel.forecast(more, parallel.START).median
        < parallel.forecast(from_one, parallel.START).median
    )


def test_micro_batches_share_one_exchange():
    once, shared = (
        parallel.parts(pair(accumulate=number), parallel.START)[1].median for number in (1, 4)
    )
    assert shared == pytest.approx(once / 4)


def test_nothing_is_hidden_where_nothing_overlaps():
    hidden, plain = (
        parallel.parts(pair(overlaps=overlaps), parallel.START)[1].median
        for overlaps in (True, False)
    )
    assert hidden == pytest.approx(plain * (1 - parallel.START.hidden_share))


def test_widths_hold_for_four_of_five_pairs():
    noise = [math.exp(0.01 * step) for step in range(-10, 11)]
    plain = measured_by(parallel.START, fewer_s=10.0)
    rows = [dataclasses.replace(plain, seconds=plain.seconds * factor) for factor in noise]
    busy = measured_by(parallel.START, device="rtx-4090", num_devices=2, fewer_s=0.05)
    slots = measured_by(parallel.START, device="rtx-a4000", num_devices=2, fewer_s=0.05)
    rows += [busy, slots]
    unseen_of = {parallel.chip(row): parallel.START for row in rows}
    exchange = parallel.with_widths(parallel.START, rows, unseen_of)
    inside = [row.seconds in parallel.forecast(row, exchange) for row in rows[:-2]]
    assert sum(inside) / len(inside) == pytest.approx(0.8, abs=0.05)
    assert exchange.link_spread == exchange.shared_spread == 0.0
