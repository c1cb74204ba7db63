import json
import subprocess
import sys
from pathlib import Path

import pytest

import traintime
from traintime import Forecast, Interval
from traintime.errors import InputError, MissingExtraError, UnknownNameError

from .known_machine import QUICK


def test_forecast_is_typed_and_ordered() -> None:
    forecast = traintime.forecast(data="mnist", model="lenet", target="accuracy:0.99", device="cpu")
    assert isinstance(forecast, Forecast)
    for interval in (forecast.total_s, forecast.time_to_end_s, forecast.peak_memory_bytes):
        assert isinstance(interval, Interval)
        assert 0 < interval.low < interval.median < interval.high
        assert interval.level == 0.8
    assert forecast.stages_s.keys() == {"prepare", "train", "validate", "evaluate"}
    assert sum(kind.share for kind in forecast.step_by_kind) == pytest.approx(1.0)
    assert forecast.bound_by == forecast.step_by_kind[0].kind
    assert forecast.assumptions
    assert forecast.evidence == "measured on this machine"


def test_forecast_survives_json() -> None:
    forecast = traintime.forecast(**QUICK)
    text = json.dumps(forecast.to_json(), allow_nan=False)
    assert Forecast.from_json(json.loads(text)) == forecast


def test_forecast_leaves_no_run_behind(home: Path) -> None:
    traintime.forecast(**QUICK)
    assert not (home / "runs").exists()
    assert traintime.list_runs() == []


@pytest.mark.parametrize("model", ["mlp", "lenet", "resnet9", "resnet18", "vgg11"])
@pytest.mark.parametrize("data", ["mnist", "fashion-mnist", "cifar10", "digits"])
def test_shipped_models_are_forecast_without_torch_from_specifications(
    data: str, model: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for profile in (home / "cache" / "machines").iterdir():
        profile.unlink()
    monkeypatch.setitem(sys.modules, "torch", None)  # any import of it fails now
    forecast = traintime.forecast(data=data, model=model, device="cpu")
    assert forecast.evidence == "specs only"
    assert forecast.total_s.high / forecast.total_s.low > 3


def test_new_process_forecasts_without_importing_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; import traintime\n"
        "print(traintime.forecast(data='digits', model='mlp', device='cpu').parameters)\n"
        "sys.exit(bool({'numpy', 'safetensors', 'PIL'} & {*sys.modules}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) == 64 * 128 + 128 + 128 * 10 + 10


def test_measuring_without_torch_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'traintime\[train\]'"):
        traintime.machine("cpu", measure=True)


def test_remembered_machine_is_not_measured_again() -> None:
    profile = traintime.machine("cpu")
    assert profile.evidence == "measured on this machine"
    assert profile.measured_on  # of the profile that the fixture put there


def test_profile_measured_with_another_torch_does_not_hold(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (home / "cache" / "machines").iterdir()
    values = json.loads(path.read_text())
    values["software"]["torch"] = "0.4.1"
    path.write_text(json.dumps(values))
    assert traintime.machine("cpu", measure=False).evidence == "specs only"


def test_damaged_profile_counts_as_none(home: Path) -> None:
    (path,) = (home / "cache" / "machines").iterdir()
    path.write_text(path.read_text()[:200])
    assert traintime.machine("cpu", measure=False).evidence == "specs only"


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"data": "mnits"}, "Did you mean 'mnist'"),
        ({"model": "lenett"}, "Did you mean 'lenet'"),
        ({"device": "tpu"}, "Did you mean 'tpu-v"),
    ],
    ids=str,
)
def test_unknown_name_is_refused_with_the_nearest_one(fields: dict[str, str], part: str) -> None:
    with pytest.raises(UnknownNameError, match=part):
        traintime.forecast(**{**QUICK, "hidden": (128,), **fields})


def test_yaml_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recipe file '.*job\.yaml'"):
        traintime.forecast(tmp_path / "job.yaml")


def test_a_budget_comes_with_what_would_make_more_of_it():
    answer = traintime.forecast(data="mnist", model="mlp", budget="40s", device="cpu")
    (network,) = [line for line in answer.advice if line.startswith("model=lenet")]
    assert "mlp is expected to end at" in network
    assert any(line.startswith("batch_size=") for line in answer.advice)
    assert Forecast.from_json(answer.to_json()) == answer
    best = traintime.forecast(data="mnist", model="lenet", budget="40s", device="cpu")
    assert not [line for line in best.advice if line.startswith("model=")]
    assert traintime.forecast(data="mnist", model="mlp", device="cpu").advice == ()
