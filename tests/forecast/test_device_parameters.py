import dataclasses

import pytest

from traintime.forecast.device_parameters import (
    KNOWN_DEVICE,
    MEASURED_HERE,
    SPECS_ONLY,
    UNKNOWN_ARCHITECTURE,
    WHOLE_TRAININGS,
    KernelClass,
    fitted_parameters,
    read_parameters,
)
from traintime.hardware.devices import devices, find_device

from .synthetic_device import HALF_OF_EVERYTHING, card, parameters


def test_parameters_survive_json():
    law = parameters()
    assert read_parameters(dataclasses.asdict(law)) == law


def test_a_class_that_was_never_measured_goes_by_others():
    forward = dataclasses.replace(HALF_OF_EVERYTHING, peak_share=0.7)
    law = parameters(classes={"convolution/forward": forward, "other/forward": HALF_OF_EVERYTHING})
    assert law.kernel_class("convolution/forward") is forward
    assert law.kernel_class("never seen/forward") is HALF_OF_EVERYTHING


def test_a_device_of_ones_own_stands_on_its_data_sheet():
    assert parameters().shares(card()).evidence == KNOWN_DEVICE
    shares = parameters().shares(card(key="mine"))
    assert dataclasses.astuple(shares) == (1.0, 1.0, 1.0, 1.0, 1.0, SPECS_ONLY)


def test_the_shipped_parameters_can_be_read_and_make_sense():
    law = fitted_parameters()
    assert law.sources
    assert {SPECS_ONLY, KNOWN_DEVICE} <= law.spread.keys()
    assert law.spread[SPECS_ONLY] > law.spread[KNOWN_DEVICE] > 0
    assert {"sgd", "adam", "adamw", "muon"} <= law.update_bytes.keys()
    for shape in law.classes.values():
        assert isinstance(shape, KernelClass)
        assert shape.bandwidth_share > 0
        assert shape.peak_share > 0


@pytest.mark.parametrize("spec", devices(), ids=lambda spec: spec.key)
def test_every_device_of_the_catalogue_has_evidence_with_a_width(spec):
    law = fitted_parameters()
    evidence = law.shares(spec).evidence
    known = {UNKNOWN_ARCHITECTURE, SPECS_ONLY, KNOWN_DEVICE, MEASURED_HERE, WHOLE_TRAININGS}
    assert evidence in known
    assert law.spread[evidence] > 0


def test_a_chip_that_is_no_gpu_is_the_least_certain_of_all():
    law = fitted_parameters()
    assert law.shares(find_device("tpu-v4")).evidence == WHOLE_TRAININGS
    assert law.spread[WHOLE_TRAININGS] == max(law.spread.values())
