import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

import large_steps
from large_model_rows import LargeRow
from traintime.forecast.data_parallel import exchange_parameters
from traintime.hardware.devices import find_device
from traintime.workload.shipped import shipped_graph

ROW = LargeRow(
    source="llm-foundry",
    model="mpt:7b",
    parameters=6.7e9,
    length=2048,
    device="a100-sxm4-80gb",
    num_devices=8,
    micro_batch=4,
    accumulate=2,
    precision="amp",
    sharding="full",
    recompute=False,
    compiled=False,
    seconds=10.0,
)


@pytest.fixture(autouse=True)
def captured(monkeypatch: pytest.MonkeyPatch):
    graph = shipped_graph("llama-2-7b", "fp32")
    assert graph
    monkeypatch.setattr(large_steps, "load_graph", lambda key: graph)
    large_steps._at_length.cache_clear()
    return graph


def steps(*rows: LargeRow):
    return list(large_steps._steps(list(rows)))


def test_what_several_devices_cost_is_taken_off_a_micro_batch(captured):
    (step,) = steps(ROW)
    bandwidth = find_device(ROW.device).bandwidth
    assert bandwidth
    updated_s = 28 * captured.parameters / 8 / bandwidth
    slowest_s = 10.0 * exchange_parameters().jitter * 1.4236  # Φ⁻¹(7.625 / 8.25), of eight
    most_s = (10.0 - updated_s - slowest_s) / 2
    assert 0.8 * most_s < step.seconds < most_s
    assert (step.phases, step.precision, step.batch_size) == ("gradients", "half", 4)


def test_rows_that_say_little_of_one_device_are_left_out():
    assert not steps(replace(ROW, num_devices=16))
    assert not steps(replace(ROW, recompute=True))
    assert not steps(replace(ROW, source="nanogpt"))
    assert not steps(replace(ROW, seconds=0.5))  # nearly all of it exchange and update


def test_a_graph_is_of_the_length_that_was_measured(captured):
    longer = large_steps.graph_of(("mpt:7b", 8192, "fp32"))
    assert longer
    assert longer.input_shape == (8192,)
    relative = 8192 / captured.input_shape[0]
    for kernel, original in zip(longer.kernels, captured.kernels, strict=True):
        assert math.isclose(kernel.at(3).flops, original.at(3, relative).flops, rel_tol=1e-6)


def test_any_other_model_is_as_it_was_captured(captured):
    assert large_steps.graph_of(("timm:resnet50", 224, "fp32")) is captured
