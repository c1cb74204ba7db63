"""What accelerators that are no GPUs reach is read off whole trainings."""

import csv
import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

from accelerators import TRAINING_IMAGES, correct, read_results
from traintime.forecast.device_parameters import WHOLE_TRAININGS, read_parameters
from traintime.forecast.device_step import (
    USUAL_CORES,
    predict_device_step,
    rates,
    sized_kernels,
    tile_cores,
)
from traintime.hardware.devices import find_device
from traintime.workload.shipped import shipped_graph


def entry(hardware: str, devices: int, hours: float, epochs: float = 40.0) -> list[dict[str, str]]:
    """A training of ResNet-50 as the table has it: a row for each figure."""
    common = {
        "path": f"{hardware}/{devices}/{hours}",
        "hardware": hardware,
        "n_devices": str(devices),
        "batch_per_device": "256",
        "global_batch": str(256 * devices),
        "model": "resnet50",
    }
    return [
        common | {"metric": "hours_to_target", "value": str(hours)},
        common | {"metric": "epochs_to_target", "value": str(epochs)},
    ]


def table(folder: Path, *entries: list[dict[str, str]]) -> Path:
    rows = [row for one in entries for row in one]
    with (folder / "mlperf_results.csv").open("w", encoding="utf-8", newline="") as file:
        written = csv.DictWriter(file, list(rows[0]))
        written.writeheader()
        written.writerows(rows)
    return folder


def shipped() -> dict:
    return json.loads(files("traintime.forecast").joinpath("device_parameters.json").read_text())


def test_a_result_is_images_over_hours_and_devices(tmp_path):
    (found,) = read_results(table(tmp_path, entry("tpu-v3", 4, hours=2.0)))
    assert found.device == "tpu-v3"
    assert found.batch_size == 256
    assert found.images_per_s == pytest.approx(40 * TRAINING_IMAGES / 7200 / 4)


def test_gpus_and_large_systems_tell_nothing_of_one_accelerator(tmp_path):
    folder = table(tmp_path, entry("v100-sxm2-16gb", 8, 2.0), entry("tpu-v3", 1024, 0.05))
    assert read_results(folder) == []


def test_a_device_twice_as_fast_in_its_trainings_has_twice_the_shares(tmp_path):
    slow, fast = shipped(), shipped()
    other = entry("tpu-v4", 8, 1.0)
    correct(slow, table(tmp_path, entry("tpu-v3", 4, 40.0), other))
    correct(fast, table(tmp_path, entry("tpu-v3", 4, 20.0), other))
    for name in ("half", "bandwidth"):
        ratio = fast["devices"]["tpu-v3"][name] / slow["devices"]["tpu-v3"][name]
        assert ratio == pytest.approx(2.0, rel=1e-2)
    assert fast["devices"]["tpu-v4"] == slow["devices"]["tpu-v4"]
    assert fast["devices"]["a100-sxm4-40gb"] == shipped()["devices"]["a100-sxm4-40gb"]


def test_no_result_makes_arithmetic_faster_than_the_peak_but_memory_may_be_spared(tmp_path):
    parameters = shipped()
    correct(parameters, table(tmp_path, entry("tpu-v3", 4, 0.5), entry("tpu-v4", 8, 1.0)))
    law, spec = read_parameters(parameters), find_device("tpu-v3")
    assert law.shares(spec).half > 1.0
    captured = shipped_graph("resnet50", "amp")
    assert captured
    kernels = sized_kernels(captured, 256, 1.0, "amp", law)
    step = predict_device_step(captured, kernels, rates(spec, "amp", law.shares(spec)), law)
    assert spec.bandwidth
    for time in step.kernels:
        if time.flops and time.kernel.half:
            assert time.flops / time.arithmetic_s <= 123e12
    assert any(time.num_bytes / time.traffic_s > spec.bandwidth for time in step.kernels)


def test_what_tuning_is_worth_on_gpus_widens_the_interval(tmp_path):
    alone, beside = shipped(), shipped()
    rows = entry("tpu-v3", 4, 2.0), entry("tpu-v4", 8, 1.0)
    correct(alone, table(tmp_path, *rows))
    correct(beside, table(tmp_path, *rows, entry("a100-sxm4-40gb", 8, 0.1)))
    assert beside["spread"][WHOLE_TRAININGS] > alone["spread"][WHOLE_TRAININGS]


def test_a_device_without_results_goes_by_the_others_and_says_so(tmp_path):
    parameters = shipped()
    correct(parameters, table(tmp_path, entry("tpu-v3", 4, 2.0), entry("tpu-v4", 8, 1.0)))
    assert parameters["devices"]["tpu-v5e"]["evidence"] == WHOLE_TRAININGS
    assert parameters["spread"][WHOLE_TRAININGS] > 0


def test_chips_that_are_no_gpus_have_no_cores_that_share_tiles():
    assert tile_cores(find_device("tpu-v4")) == USUAL_CORES
    assert tile_cores(find_device("rtx-3090")) == 82
