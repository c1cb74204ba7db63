import sys

import pytest

import traintime
from traintime.api import measuring
from traintime.api.hardware import hardware_remove
from traintime.api.listener import Listener
from traintime.api.machine import machine, save_machine
from traintime.api.measuring import measure_apart
from traintime.errors import InputError
from traintime.hardware.devices import find_device


def test_a_saved_processor_is_a_device_of_forecasts():
    saved = save_machine("my-desk", measure=False)
    assert find_device("my-desk") == saved
    assert saved.fp32_flops
    assert saved.bandwidth
    answer = traintime.forecast(
        model="resnet50", data="imagenet", device="my-desk", precision="fp32"
    )
    assert answer.device == "my-desk"
    assert answer.evidence == "measured on this machine"


def test_a_name_that_no_device_can_have_is_refused():
    with pytest.raises(InputError, match="cannot be saved"):
        save_machine("My Desk!", measure=False)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rtx-3090", "'rtx-3090' means GeForce RTX 3090 of the catalogue.*my-rtx-3090"),
        ("3090", "of the catalogue, which it would hide"),
        ("x8", "reads as a number of devices"),
        ("desk-x2", "reads as a number of devices.*my-machine"),
        ("4xdesk", "reads as a number of devices"),
    ],
)
def test_a_name_that_means_something_else_is_refused(name, says):
    with pytest.raises(InputError, match=says):
        save_machine(name, measure=False)


def test_a_saved_device_can_be_forgotten():
    save_machine("my-desk", measure=False)
    hardware_remove("my-desk")
    with pytest.raises(InputError, match="No device named 'my-desk'"):
        find_device("my-desk")
    with pytest.raises(InputError, match=r"None is known.*machine --save NAME"):
        hardware_remove("my-desk")
    with pytest.raises(InputError, match=r"'rtx-3090' is .* of the catalogue, which stays"):
        hardware_remove("rtx-3090")
    save_machine("my-desk", measure=False)
    hardware_remove("My-Desk")


def test_a_measurement_that_cannot_be_kept_is_used_and_said(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    profile = machine("cpu", measure=False)
    monkeypatch.setenv("TRAINTIME_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(measuring, "measure_apart", lambda *_: profile)
    told: list[str] = []
    listener = Listener()
    listener.say = told.append
    assert machine("cpu", measure=True, listener=listener).rates == profile.rates
    assert "could not be kept" in told[0]
    assert "export TRAINTIME_HOME=" in told[0]


def test_a_device_that_torch_cannot_use_says_what_torch_said():
    with pytest.raises(InputError, match=r"cannot use cuda:63 \(.+\)"):
        measure_apart("cuda:63", 1e9, lambda what, share: None)


def test_measuring_reports_as_it_goes_and_leaves_this_process_alone(monkeypatch):
    told: list[tuple[str, float]] = []
    before = set(sys.modules)
    profile = measure_apart("cpu", 1e9, lambda what, share: told.append((what, share)))
    assert profile.device == "cpu"
    assert profile.disk_bytes_per_s == 1e9
    assert profile.rate("matrix product", "fp32", (1e6, 1e6)) is not None
    assert 0.1 < profile.import_s < 60
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert "traintime.forecast.probes" not in set(sys.modules) - before
