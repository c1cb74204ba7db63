import json

import pytest
from typer.testing import CliRunner, Result

from traintime.api.hardware import hardware_list, hardware_show
from traintime.cli.main import app
from traintime.errors import UnknownNameError
from traintime.hardware.devices import DeviceSpec, devices, save_device


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, ["hardware", *words])


def test_piped_list_has_every_device_whole_whatever_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = type_in("list")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    for spec in devices():
        assert any(line.startswith(f"{spec.key} ") and spec.name in line for line in lines)


def test_list_can_be_of_one_kind() -> None:
    text = type_in("list", "--kind", "tpu").stdout
    assert "tpu-v4" in text
    assert "rtx-3090" not in text
    assert hardware_list("TPU") == hardware_list("tpu") != hardware_list()


def test_saved_devices_come_first() -> None:
    save_device(DeviceSpec("my-card", "Mine", "gpu"))
    assert type_in("list").stdout.splitlines()[1].startswith("my-card ")


def test_a_saved_device_is_removed_by_its_name() -> None:
    save_device(DeviceSpec("mine", "Mine", "gpu"))
    assert json.loads(type_in("remove", "mine", "--json").stdout) == {"removed": "mine"}
    assert "mine" not in type_in("list").stdout.split()


def test_show_takes_a_drivers_name() -> None:
    text = type_in("show", "NVIDIA GeForce RTX 3090").stdout
    assert "rtx-3090 · GeForce RTX 3090" in text
    assert "24 GiB at 936 GB/s" in text


def test_json_is_one_document_in_si_units() -> None:
    shown = json.loads(type_in("show", "rtx-3090", "--json").stdout)
    assert (shown["key"], shown["bandwidth"], shown["half_flops"]) == ("rtx-3090", 936e9, 71e12)
    assert shown == hardware_show("3090").to_json()
    listed = json.loads(type_in("list", "--kind", "gpu", "--json").stdout)
    assert shown in listed
    assert len(listed) == len(hardware_list("gpu"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["show", "rtx-309"], ["No device named 'rtx-309'", "'rtx-3090'", "hardware list"]),
        (["list", "--kind", "gpus"], ["No kind of device named 'gpus'", "'gpu'", "--kind gpu"]),
    ],
)
def test_unknown_name_ends_with_two_and_what_to_type(words: list[str], parts: list[str]) -> None:
    result = type_in(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert all(part in result.stderr for part in parts)
    failure = json.loads(type_in(*words, "--json").stdout)
    assert (failure["error"], failure["exit_code"]) == ("UnknownNameError", 2)


def test_python_raises_what_the_command_line_tells() -> None:
    with pytest.raises(UnknownNameError, match="rtx-3090"):
        hardware_show("rtx-309")


@pytest.mark.parametrize("words", [[], ["list"], ["show"]])
def test_each_command_explains_itself(words: list[str]) -> None:
    result = type_in(*words, "--help")
    assert result.exit_code == 0
    assert "hardware" in result.stdout
