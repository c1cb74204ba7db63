import dataclasses

import pytest

from traintime.errors import InputError
from traintime.forecast.device_job import forecast_on_device
from traintime.forecast.recomputed import blocks_of, recomputed_kernels
from traintime.hardware.devices import DeviceCount

from .synthetic_device import blocks, card, graph, in_layers, job, kernel, model, parameters


def forecast(captured, law=None, **changes):
    law = law or parameters()
    return forecast_on_device(job(**changes), model(captured, law), DeviceCount(card()), law)


def test_the_forward_of_blocks_is_computed_again():
    plain, again = (forecast(in_layers(graph()), recompute=flag) for flag in (False, True))
    # 0.2 ms of arithmetic and 0.2 ms of traffic
    assert again.step_time_s.median - plain.step_time_s.median == pytest.approx(4e-4)
    parts = {part.kind: part.seconds for part in again.step_by_kind}
    assert parts["computing again"] == pytest.approx(4e-4)
    assert sum(part.share for part in again.step_by_kind) == pytest.approx(1.0)
    assert any("Each of 10 blocks in layers keeps its input alone" in a for a in again.assumptions)


def test_what_stands_outside_blocks_is_computed_once():
    outside = dataclasses.replace(graph(), blocks=blocks())
    plain, again = (forecast(outside, recompute=flag) for flag in (False, True))
    assert again.step_time_s.median == pytest.approx(plain.step_time_s.median)


def test_flop_are_the_models_own():
    plain, again = (forecast(in_layers(graph()), recompute=flag) for flag in (False, True))
    assert again.flops_per_step == plain.flops_per_step
    assert again.utilization < plain.utilization


def test_a_validation_computes_nothing_again():
    plain, again = (
        forecast(in_layers(graph()), recompute=flag, validation_samples=95)
        for flag in (False, True)
    )
    assert again.stages_s["validate"].median == pytest.approx(plain.stages_s["validate"].median)


def test_each_micro_batch_is_computed_again():
    once, twice = (
        forecast(in_layers(graph()), recompute=True, accumulate=count) for count in (1, 2)
    )
    assert twice.step_time_s.median == pytest.approx(once.step_time_s.median)
    parts = {part.kind: part.seconds for part in twice.step_by_kind}
    assert parts["computing again"] == pytest.approx(4e-4)


def test_the_host_dispatches_it_again():
    slow_host = parameters(call_s=1e-3, dispatch_overlap=64.0)
    plain, again = (forecast(in_layers(graph()), slow_host, recompute=f) for f in (False, True))
    # of ten calls the forward has four
    assert again.step_time_s.median / plain.step_time_s.median == pytest.approx(1.4)


def test_only_forwards_in_blocks_are_found():
    captured = in_layers(graph(kernels=(kernel("softmax", "forward", num_bytes=1e6),)))
    assert captured.blocks
    assert captured.blocks.hold(captured.kernels[0])
    assert not captured.blocks.hold(kernel("softmax", "forward"))
    assert recomputed_kernels(captured, ()) == ()


def test_a_model_without_blocks_is_refused():
    with pytest.raises(InputError, match="toy has none that are known"):
        blocks_of(graph())
    with pytest.raises(InputError, match="Leave recompute= out"):
        forecast(graph(), recompute=True)
