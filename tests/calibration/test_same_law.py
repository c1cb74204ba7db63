"""The law that is fitted and the law that forecasts are one: they give the same seconds."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

from fit import gather, to_json  # noqa: E402
from law import Law  # noqa: E402
from measured_rows import StepRow  # noqa: E402
from points import make_points  # noqa: E402
from traintime.forecast.device_parameters import read_parameters  # noqa: E402
from traintime.forecast.device_step import (  # noqa: E402
    predict_device_step,
    rates,
    sized_kernels,
)
from traintime.hardware.devices import find_device  # noqa: E402
from traintime.workload.shipped import shipped_graph  # noqa: E402

ROWS = [
    ("resnet50", "rtx-3090", "amp", "channels_last", "train"),
    ("resnet50", "rtx-3090", "amp", "contiguous", "train"),
    ("resnext50_32x4d", "v100", "half", "contiguous", "gradients"),
    ("resnext50_32x4d", "rtx-3090", "amp", "channels_last", "train"),
    ("mobilenet_v2", "a100-sxm4-40gb", "tf32", "channels_last", "train"),
    ("resnet50", "rtx-3090", "tf32", "contiguous", "train"),
    ("densenet121", "rtx-3090", "amp", "channels_last", "train"),
    ("lstm-lm", "rtx-3090", "amp", "", "train"),
    ("bert-base", "t4", "fp32", "", "forward"),
    ("vgg16", "mi210", "fp32", "contiguous", "gradients"),
]


def row(model: str, device: str, precision: str, memory_format: str, phases: str) -> StepRow:
    return StepRow(
        "timm", model, model, 0, device, precision, memory_format, 24, phases, "pytorch-1.12", 1.0
    )


def graph(key):
    model, _, numerics = key
    return shipped_graph(model, numerics)


def test_the_fitted_law_and_the_forecast_agree(monkeypatch):
    rows = [row(*values) for values in ROWS]
    monkeypatch.setattr(
        "fit.make_points", lambda rows, spec, **_: make_points(rows, spec, (), graph)
    )
    fitting = gather(rows)
    torch.manual_seed(1)
    law = Law(*fitting.num)
    with torch.no_grad():
        for parameter in law.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        law.software.zero_()
        law.host.zero_()
        fitted = law(fitting.static).exp().tolist()
    parameters = read_parameters(to_json(law, fitting, {}))
    for one, seconds in zip(fitting.rows, fitted, strict=True):
        spec = find_device(one.device)
        captured = graph((one.model, 0, "amp" if one.precision == "amp" else "fp32"))
        forecast = predict_device_step(
            captured,
            sized_kernels(captured, one.batch_size, 1.0, one.precision, parameters),
            rates(spec, one.precision, parameters.shares(spec)),
            parameters,
            phases=one.phases,
            contiguous=one.memory_format != "channels_last" and len(captured.input_shape) == 3,
        )
        assert forecast.seconds == pytest.approx(seconds, rel=0.01), one
