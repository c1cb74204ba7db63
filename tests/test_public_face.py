import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import traintime
from traintime.units import Interval

HEAVY = ["torch", "numpy", "pydantic", "jinja2", "rich", "yaml", "psutil"]
REPORT_IMPORTS = f"import json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
HELP = """
import sys
from traintime.cli.main import main
sys.argv = ["traintime", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def processor_seconds(code: str) -> float:
    """Return user and system time, which other work on the machine does not stretch."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_importing_the_package_imports_nothing_heavy():
    assert json.loads(run(f"import traintime; {REPORT_IMPORTS}")) == []


def test_help_imports_neither_torch_nor_numpy_nor_pydantic():
    imported = json.loads(run(f"{HELP}\n{REPORT_IMPORTS}").splitlines()[-1])
    assert not {"torch", "numpy", "pydantic"} & set(imported)


@pytest.mark.parametrize("code", ["import traintime", HELP], ids=["import", "--help"])
def test_the_first_answer_takes_less_than_0_3_seconds(code: str):
    assert min(processor_seconds(code) for _ in range(3)) < 0.3


def test_the_command_itself_answers():
    command = Path(sys.executable).with_name("traintime")
    environment = {**os.environ, "COLUMNS": "100"}
    answer = subprocess.run(
        [command, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    assert all(verb in answer.stdout for verb in ("train", "forecast", "demo", "machine", "runs"))


@pytest.mark.parametrize("name", traintime.__all__)
def test_every_public_name_is_there(name: str):
    assert getattr(traintime, name) is not None


@pytest.mark.parametrize(
    "code",
    [
        "from traintime import Forecast, forecast, train",
        "from traintime import Forecast, Eta, forecast, train",
        "import traintime.train.loop, traintime.forecast.predict\n"
        "from traintime import forecast, train",
    ],
)
def test_functions_win_over_folders_of_the_same_name(code: str):
    assert run(f"{code}\nprint(callable(forecast), callable(train))") == "True True\n"


def test_public_names_are_those_of_their_homes():
    assert traintime.Interval is Interval
    assert dir(traintime) == sorted(traintime.__all__)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'traintime' has no attribute 'trian'"):
        traintime.trian  # noqa: B018
