import dataclasses
import importlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from traintime.api.job import read_job
from traintime.forecast.predict import forecast_job, plan_job
from traintime.hardware.profile import HardwareProfile

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EPOCHS, PER_EPOCH = 10, 223


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("eta_replay").replay


def steady_run(step_s: float, validate_s: float) -> dict[str, Any]:
    """A run as `record_runs.py` has it: windows of about a fifth of a second."""
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text("utf-8")
    profile = HardwareProfile.from_json(json.loads(text))
    job = read_job(None, {"data": "mnist", "model": "lenet", "epochs": EPOCHS})
    plan = plan_job(job.recipe, job.network, job.sizes, "cpu", profile)
    forecast = forecast_job(job.recipe, plan, profile, 0.0)
    windows, epochs, now = [], [], 0.0
    for epoch in range(EPOCHS):
        for step in range(20, PER_EPOCH + 1, 7):
            at = now + step * step_s
            windows.append([epoch * PER_EPOCH + step, at])
        now += PER_EPOCH * step_s
        windows.append([(epoch + 1) * PER_EPOCH, now])
        now += validate_s
        epochs.append([epoch + 1, now, 0.5, 0.9 + 0.005 * epoch])
    stages = forecast.stages_s
    test_s = stages["evaluate"].median * validate_s / (stages["validate"].median / EPOCHS)
    return {
        "name": "steady",
        "disturbed": False,
        "recipe": job.recipe.model_dump(mode="json"),
        "forecast": forecast.to_json(),
        "windows": windows,
        "epochs": epochs,
        "total_s": now + test_s,
    }


def test_a_steady_run_is_foreseen_by_all_and_validations_by_ours_alone(replay):
    plain = {answer.share: answer for answer in replay(steady_run(0.03, 1e-6))}
    assert plain.keys() == {0.05, 0.10, 0.25, 0.50}
    late = plain[0.25]
    for said_s in late.said_s.values():
        assert said_s == pytest.approx(late.total_s, rel=0.03)
    validated = {answer.share: answer for answer in replay(steady_run(0.03, 3.0))}[0.25]
    errors = {name: abs(s / validated.total_s - 1) for name, s in validated.said_s.items()}
    assert errors["traintime"] < 0.03
    assert errors["Keras, Lightning"] > 0.15
    assert dataclasses.asdict(validated)["run"] == "steady"
