"""What is fitted to a processor's operations and what forecasts its steps give the same seconds."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

import cpu_layers  # noqa: E402
import cpu_steps  # noqa: E402
from cpu_fit import to_json  # noqa: E402
from cpu_law import CpuLaw, gather  # noqa: E402
from cpu_steps import Timed  # noqa: E402
from random_layers import layer  # noqa: E402
from traintime.forecast.own_cpu import spec_of_processor  # noqa: E402
from traintime.forecast.processor_parameters import read_processor_parameters  # noqa: E402
from traintime.forecast.processor_step import (  # noqa: E402
    predict_processor_step,
    sized_for_processor,
)
from traintime.hardware.machine import Machine  # noqa: E402
from traintime.hardware.processor import ProcessorRates  # noqa: E402

RATES = ProcessorRates(1.7e11, 3.6e11, 6.5e10, 2.1e11, 2.6e-6, 4.5e-6)
MACHINE = Machine("CPU", 2, 2.5, 2**34, 2**36, (), "Linux")


def timed(case: cpu_steps.Case, precision: str, optimizer: str) -> Timed:
    return Timed(
        case.name, case.family, case.batch_size, precision, optimizer, 1.0, {}, (RATES, RATES)
    )


def test_the_fitted_law_and_the_forecast_agree():
    cases = list(cpu_steps.cases(7, seed=2))
    asked = [
        (timed(case, precision, optimizer), cpu_steps.graph_of(case, precision))
        for case, precision, optimizer in (
            (cases[0], "fp32", "sgd"),
            (cases[1], "bf16", "adam"),
            (cases[3], "fp32", "adam"),
            (cases[4], "bf16", "sgd"),
            (cases[6], "fp32", "sgd"),
        )
    ]
    graphs = {(one.case, one.precision): graph for one, graph in asked}
    timings = gather([one for one, _ in asked], lambda one: graphs[one.case, one.precision])
    torch.manual_seed(1)
    law = CpuLaw(list(timings.classes))
    with torch.no_grad():
        for parameter in law.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        _, _, fitted = law(timings)
    parameters = read_processor_parameters(
        to_json(law) | {"reference": vars(RATES), "spread": {}, "sources": []}
    )
    spec = spec_of_processor(MACHINE, RATES)
    for (one, graph), seconds in zip(asked, fitted.tolist(), strict=True):
        precision = "amp" if one.precision == "bf16" else "fp32"
        step = predict_processor_step(
            graph,
            sized_for_processor(graph, one.batch_size, 1.0, precision, parameters),
            spec,
            parameters,
            optimizer=one.optimizer,
        )
        assert step.seconds == pytest.approx(seconds, rel=0.01), one


def test_a_random_layer_is_the_same_each_time_and_trains():
    for number in range(12):
        one, again = layer(3, number), layer(3, number)
        assert (one.family, one.batch_size) == (again.family, again.batch_size)
        assert one.inputs(2).shape == again.inputs(2).shape
        small = type(one)(one.name, one.family, one.build, one.inputs, batch_size=2)
        cpu_layers.make_step(small, "bf16")()
