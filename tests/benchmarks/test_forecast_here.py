import importlib
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from traintime.forecast.device_memory import context_bytes
from traintime.hardware.devices import DeviceSpec
from traintime.hardware.processor import ProcessorRates

pytest.importorskip("torch")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CPU = DeviceSpec(key="cpu", name="CPU", kind="cpu", architecture="CPU")


@pytest.fixture
def forecast_here(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("forecast_here")


def result_of(case: dict) -> dict:
    text = (BENCHMARKS / "results" / "forecast_here.json").read_text(encoding="utf-8")
    whole = json.loads(text)
    named = ("model", "precision", "batch_size")
    answer = next(a for a in whole["answers"] if all(a[name] == case[name] for name in named))
    return whole | {"answers": [answer]}


CASE = {
    "model": "mlp",
    "family": "mlp",
    "precision": "fp32",
    "batch_size": 512,
    "optimizer": "adam",
    "peak_memory_bytes": 16_000_000,
    "processor": asdict(ProcessorRates(1e11, 2e11, 5e10, 2e11, 2e-6, 4e-6)),
}


def test_memory_is_what_the_forecast_of_a_job_says_beyond_the_process(forecast_here):
    graph = forecast_here.graph_of("mlp", "fp32")
    said = forecast_here._memory_of(graph, CASE)
    # 784·128 + 128 + 128·10 + 10 weights with two states and a gradient, and the input
    least = 4 * (4 * 101_770 + 512 * 784)
    assert least < said["tensor_bytes"] < said["forecast_memory_bytes"] < 10 * least
    assert said["forecast_memory_bytes"] < context_bytes(CPU)
    assert said["memory_bytes"] == 16_000_000


def test_memory_alone_can_be_forecast_anew(forecast_here):
    before = result_of(CASE)
    after = forecast_here._memory_anew(before, [CASE])
    assert after["rows"][:2] == before["rows"][:2]
    assert after["notes"] == before["notes"]
    (was,), (now,) = before["answers"], after["answers"]
    changed = {name for name in now if now[name] != was.get(name)}
    assert changed <= {"memory_bytes", "forecast_memory_bytes", "memory_sigma", "tensor_bytes"}
    assert after["rows"][2]["n"] == 1
    with pytest.raises(ValueError, match="zip"):
        forecast_here._memory_anew(before, [])
