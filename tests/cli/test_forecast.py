import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.api.known_machine import QUICK, as_words
from tests.report.synthetic_device_forecast import device_forecast, several
from traintime.api import forecast as forecast_api
from traintime.cli.forecast import with_plot_file
from traintime.cli.main import app
from traintime.forecast.device_forecast import DeviceForecast
from traintime.recipe.question import Question

ONE = ["model=resnet50", "data=imagenet", "device=rtx-3090"]
MANY = ["model=resnet50", "data=imagenet", "device=all"]


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, ["forecast", *words])


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to write plots to."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answer from forecasts made by hand, and note what was asked."""
    questions: list[dict[str, Any]] = []

    def one(_: object = None, /, **fields: Any) -> DeviceForecast:
        questions.append(fields)
        return device_forecast()

    def many(_: object = None, /, **fields: Any) -> Sequence[DeviceForecast]:
        questions.append(fields)
        return tuple(several())

    monkeypatch.setattr(forecast_api, "forecast", one)
    monkeypatch.setattr(forecast_api, "forecast_devices", many)
    return questions


# What is shown


@pytest.mark.usefixtures("asked")
def test_one_device_is_shown_whole() -> None:
    result = type_in(*ONE)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("resnet50 on GeForce RTX 3090\n")
    assert "25 h 31 m (21 h 42 m - 30 h 37 m)" in result.stdout
    assert "The most expensive kernels" not in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("asked")
def test_explain_adds_the_arithmetic() -> None:
    text = type_in(*ONE, "--explain").stdout
    assert text.index("resnet50 on GeForce") < text.index("The most expensive kernels")
    assert "(64×802,816)·(802,816×576)" in text


@pytest.mark.parametrize("device", ["all", "ALL", "rtx-3090,h100x8"])
def test_several_devices_are_a_table(device: str, asked: list[dict[str, Any]]) -> None:
    result = type_in("model=resnet50", "data=imagenet", f"device={device}")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("resnet50 on 5 devices\n")
    assert "h100-sxm5-80gbx8" in result.stdout
    assert asked[0]["sort_by"] == "time"


def test_the_order_is_handed_on(asked: list[dict[str, Any]]) -> None:
    assert type_in(*MANY, "--sort", "efficiency").exit_code == 0
    assert asked[0]["sort_by"] == "efficiency"


def test_an_order_that_is_none_is_refused(asked: list[dict[str, Any]]) -> None:
    result = type_in(*MANY, "--sort", "beauty")
    assert result.exit_code == 2
    assert "efficiency" in result.stderr
    assert asked == []


def test_several_are_not_explained(asked: list[dict[str, Any]]) -> None:
    result = type_in(*MANY, "--explain")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "device=rtx-3090" in result.stderr
    assert asked == []


def test_a_list_in_a_recipe_file_is_several(
    asked: list[dict[str, Any]], working_folder: Path
) -> None:
    for devices in ("rtx-3090,h100x8", "[rtx-3090, h100x8]"):
        (working_folder / "job.yaml").write_text(f"model: resnet50\ndevice: {devices}\n")
        assert type_in("job.yaml").stdout.startswith("resnet50 on 5 devices\n")
    assert len(asked) == 2


@pytest.mark.parametrize(
    "word", ["listener=1", "loss=1", "sort_by=time", "devices=all", "epohcs=3"]
)
@pytest.mark.parametrize("job", [ONE, MANY, as_words(**QUICK)], ids=["one", "many", "own"])
def test_what_is_no_field_is_refused(
    word: str, job: list[str], asked: list[dict[str, Any]]
) -> None:
    result = type_in(*job, word)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert f"no field '{word.split('=')[0]}'" in result.stderr
    assert asked == []


# JSON


@pytest.mark.usefixtures("asked")
def test_json_is_one_document() -> None:
    one = json.loads(type_in(*ONE, "--json").stdout)
    assert one == json.loads(json.dumps(device_forecast().to_json()))
    assert one["step_time_s"]["median"] == 0.2
    many = json.loads(type_in(*MANY, "--json").stdout)
    assert [answer["device"] for answer in many][:2] == ["h100-sxm5-80gb", "a100-sxm4-80gb"]


@pytest.mark.usefixtures("asked")
def test_json_with_a_plot_stays_one_document(working_folder: Path) -> None:
    assert json.loads(type_in(*ONE, "--json", "--plot").stdout)["device"] == "rtx-3090"
    assert (working_folder / "forecast.html").is_file()


# The plot


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--plot"], ["--plot=forecast.html"]),
        (["--plot", "race.html"], ["--plot=race.html"]),
        (["--plot", "a=b/race.html"], ["--plot=a=b/race.html"]),
        (["--plot=race.html", "model=x"], ["--plot=race.html", "model=x"]),
        (["--plot", "model=x"], ["--plot=forecast.html", "model=x"]),
        (["--plot", "job.yaml"], ["--plot=forecast.html", "job.yaml"]),
        (["--plot", "--json"], ["--plot=forecast.html", "--json"]),
        (["--plot", "race.svg"], ["--plot=race.svg"]),
        (["model=x", "race.html"], ["model=x", "race.html"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_plot_takes_a_file_and_nothing_of_the_recipe(
    words: list[str], expected: list[str]
) -> None:
    assert with_plot_file(words) == expected


@pytest.mark.parametrize(
    ("words", "file"),
    [(["--plot"], "forecast.html"), (["--plot", "deep/race.html"], "deep/race.html")],
)
@pytest.mark.parametrize("job", [ONE, MANY], ids=["one", "many"])
@pytest.mark.usefixtures("asked")
def test_the_plot_is_written_and_its_path_is_printed(
    words: list[str], file: str, job: list[str], working_folder: Path
) -> None:
    result = type_in(*words, *job)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"plot: {file}"
    page = (working_folder / file).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "resnet50 on" in page


@pytest.mark.parametrize("name", ["race.svg", "race", "../work.html"])
def test_a_plot_that_is_no_page_is_refused_before_any_work(
    name: str, asked: list[dict[str, Any]], working_folder: Path
) -> None:
    (working_folder.parent / "work.html").mkdir()
    result = type_in(*ONE, "--plot", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--plot " in result.stderr
    assert ".html" in result.stderr
    assert asked == []


# What is not for this machine


@pytest.mark.parametrize("option", ["--explain", "--plot"])
def test_a_job_of_this_machine_has_no_kernels_to_show(option: str, working_folder: Path) -> None:
    result = type_in(*as_words(**QUICK), option)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option in result.stderr
    assert "device=rtx-3090" in result.stderr
    assert not list(working_folder.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--epochs", "5", "model=resnet50"], "typed without dashes: epochs=5"),
        (["model=resnet50", "--batch-size=64"], "typed without dashes: batch_size=64"),
        (["model=resnet50", "--sharding"], "typed without dashes: sharding=..."),
        (["--compile", "model=resnet50"], "typed without dashes: compile=..."),
    ],
)
def test_a_field_with_dashes_is_said_to_have_none(words: list[str], says: str) -> None:
    command = [sys.executable, "-m", "traintime", "forecast", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr


def test_help_explains_every_field_and_option() -> None:
    for option in ("--help", "-h"):
        text = type_in(option).stdout
        for name, field in Question.model_fields.items():
            assert f" {name} " in text
            assert (field.description or "").split()[0] in text
        for shown in ("--explain", "--plot [FILE.html]", "--sort", "--json", "device=all"):
            assert shown in text


# What goes wrong


@pytest.mark.parametrize("data", ["", "data: mnist"])
@pytest.mark.parametrize("model", ["{a: 1}", "[1, 2]"])
def test_a_file_that_names_no_model_is_refused(model: str, data: str, working_folder: Path) -> None:
    (working_folder / "job.yaml").write_text(f"model: {model}\n{data}\n")
    result = type_in("job.yaml")
    assert result.exit_code == 2
    assert "does not work: one word is expected" in result.stderr


def test_an_interrupt_speaks_of_no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(forecast_api, "forecast", interrupt)
    result = type_in(*ONE)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Stopped before it had an answer" in result.stderr
    assert "runs" not in result.stderr


@pytest.mark.usefixtures("asked")
def test_a_page_that_cannot_be_written_says_where_it_can(working_folder: Path) -> None:
    (working_folder / "file").touch()
    result = type_in(*ONE, "--plot", "file/page.html")
    assert result.exit_code == 1
    assert "GeForce RTX 3090" in result.stdout
    assert "could not be written to 'file/page.html' (" in result.stderr
    assert "--plot forecast.html" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that Linux has")
@pytest.mark.parametrize("option", ["--json", "--explain"])
def test_an_answer_that_could_not_be_written_is_no_success(option: str) -> None:
    words = ["forecast", "model=resnet50", "device=t4", option]
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "traintime", *words]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert "The answer could not be written (No space left on device)" in ended.stderr
    assert "Traceback" not in ended.stderr


LOOP = """
from torch import nn
class Net(nn.Linear):
    def forward(self, x):
        while True: x = super().forward(x)
def build():
    print("built", flush=True)
    return Net(4, 4)
"""


def test_an_interrupt_ends_a_forward_that_does_not(working_folder: Path) -> None:
    (working_folder / "net.py").write_text(LOOP)
    words = ["forecast", "model=net.py:build", "input=4", "device=t4"]
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"import sys; sys.argv[1:] = {words}\nfrom traintime.cli.main import main; main()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "built" in process.stderr.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, "Stopped" in said) == (130, True)
