import sys

import pytest

import traintime
from traintime.api.machine import save_machine
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
    assert answer.evidence == "device known from measurements"


def test_a_name_that_no_device_can_have_is_refused():
    with pytest.raises(InputError, match="cannot be saved"):
        save_machine("My Desk!", measure=False)


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
