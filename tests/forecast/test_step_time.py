import pytest

from traintime.forecast.step_time import predict_inference, predict_step
from traintime.hardware.execution import Execution
from traintime.hardware.machine import Machine
from traintime.hardware.profile import HardwareProfile, Rate
from traintime.workload.op_graph import Op, OpGraph

MACHINE = Machine("test", 2, 2.0, 2**33, 2**33, (), "Linux")
EXECUTION = Execution("cpu", "fp32", "channels_last")


def profile(*rates: Rate, dispatch_s: float = 1e-6) -> HardwareProfile:
    return HardwareProfile(
        MACHINE,
        "cpu",
        "measured on this machine",
        rates,
        (),
        dispatch_s,
        1e9,
        1.0,
        "2026-01-01",
        {},
    )


def test_a_product_takes_its_work_over_its_rate_plus_dispatch():
    graph = OpGraph((Op("linear", "matrix product", 2e6, size=(10, 10), launches=3),), 100, 1)
    step = predict_step(
        graph, 50, EXECUTION, profile(Rate("matrix product", "fp32", (10, 10), 1e11, 1))
    )
    assert step is not None
    assert step.seconds == pytest.approx(50 * 2e6 / 1e11 + 3e-6)
    assert step.by_kind() == pytest.approx({"matrix product": 1e-3, "dispatch": 3e-6})


def test_an_image_operation_asks_for_the_rate_of_its_memory_format():
    graph = OpGraph((Op("pool", "pooling", 1e3, size=(100, 6), image=True),), 0, 0)
    rates = profile(Rate("pooling", "fp32 contiguous", (6400, 6), 1e6, 1))
    assert predict_step(graph, 64, EXECUTION, rates) is None


def test_the_optimizer_is_done_in_fp32_whatever_the_precision():
    graph = OpGraph(
        (Op("update", "optimizer", work_fixed=1e6, size=(1e5, 1.0), launches=0, precision="fp32"),),
        1,
        1,
    )
    bf16 = Execution("cpu", "bf16", "channels_last")
    step = predict_step(graph, 1, bf16, profile(Rate("optimizer", "fp32", (1e5, 1.0), 1e9, 1)))
    assert step is not None
    assert step.seconds == pytest.approx(1e-3)


def test_inference_takes_the_forward_share():
    graph = OpGraph(
        (Op("linear", "matrix product", 3e6, size=(10, 10), launches=3, forward_share=1 / 3),), 1, 1
    )
    rates = profile(Rate("matrix product", "fp32", (10, 10), 1e9, 1))
    seconds = predict_inference(graph, 200, EXECUTION, rates, 100)
    assert seconds == pytest.approx(200 * 1e6 / 1e9 + 2 * 1e-6)
