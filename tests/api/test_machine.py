import pytest

import traintime
from traintime.api.machine import save_machine
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
