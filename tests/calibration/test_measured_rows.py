"""Which networks and number formats the rows of public tables stand for."""

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

from measured_rows import is_fitted, is_judged, step_rows, without_weights

TABLES = (
    "timm_train",
    "ryujaehun_pytorch_gpu",
    "lambda_pytorch",
    "lambda_tensorflow",
    "nvidia_dle_train",
    "jcjohnson_cnn",
    "u39kun_dl",
    "neusight_model_latency",
    "hardware_specs",
)


def tables(folder: Path, **rows: list[dict[str, str]]) -> Path:
    """Tables of the rows given, all others empty."""
    for name in TABLES:
        written = rows.get(name, [])
        heads = list(written[0]) if written else ["hardware"]
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, heads)
            table.writeheader()
            table.writerows(written)
    return folder


def timm_row(model: str, parameters: str = "25.58") -> dict[str, str]:
    return {
        "framework": "pytorch-1.12+cu113",
        "model": model,
        "params_m": parameters,
        "gmacs": "4.35",
        "input_size": "3x224x224",
        "batch_per_device": "384",
        "value": "750.0",
        "hardware": "rtx-3090",
        "memory_format": "nchw",
    }


def tensorflow_row(framework: str, hardware: str) -> dict[str, str]:
    return {
        "framework": framework,
        "model": "resnet50",
        "n_devices": "1",
        "mode": "train",
        "notes": "data=syn",
        "hardware": hardware,
        "precision": "fp32",
        "batch_per_device": "64",
        "value": "500.0",
    }


SPECS = [
    {"hardware": "a100-pcie-40gb", "tf32_tflops": "156", "vendor": "NVIDIA"},
    {"hardware": "v100-sxm3-32gb", "tf32_tflops": "", "vendor": "NVIDIA"},
]


def test_other_weights_make_no_other_network():
    assert without_weights("ssl_resnext101_32x8d") == "resnext101_32x8d"
    assert without_weights("convnext_tiny_in22ft1k") == "convnext_tiny"
    assert without_weights("ecaresnet50d") == "ecaresnet50d"


def test_networks_of_as_many_parameters_are_captured_each(tmp_path: Path):
    rows = [timm_row("resnet50d"), timm_row("ecaresnet50d"), timm_row("ssl_resnet50d")]
    models = [row.model for row in step_rows(tables(tmp_path, timm_train=rows))]
    assert models == ["timm:resnet50d", "timm:ecaresnet50d", "timm:resnet50d"]


@pytest.mark.parametrize(
    ("framework", "hardware", "precision"),
    [
        ("tensorflow 1.15 tf_cnn_benchmarks", "a100-pcie-40gb", "tf32"),
        ("tensorflow 2.3 tf_cnn_benchmarks", "a100-pcie-40gb", "fp32"),
        ("tensorflow 2.4 tf_cnn_benchmarks", "a100-pcie-40gb", "tf32"),
        ("tensorflow 1.15 tf_cnn_benchmarks", "v100-sxm3-32gb", "fp32"),
    ],
)
def test_a_tensorflow_that_rounds_to_tf32_does_so_where_the_device_can(
    tmp_path: Path, framework: str, hardware: str, precision: str
):
    rows = [tensorflow_row(framework, hardware)]
    (row,) = step_rows(tables(tmp_path, lambda_tensorflow=rows, hardware_specs=SPECS))
    assert row.precision == precision


def neusight_row(mode: str, forward_ms: float, backward_ms: float) -> dict[str, str]:
    return {
        "framework": "pytorch",
        "model": "gpt2_large",
        "mode": mode,
        "n_devices": "1",
        "hardware": "v100-pcie-32gb",
        "seq_len": "1024",
        "batch_per_device": "4",
        "value": str(forward_ms + backward_ms),
        "notes": f"option=; fw_ms={forward_ms}; bwall_ms={backward_ms}; num_layer_measured=36",
    }


def test_a_step_after_memory_was_emptied_is_fitted_by_its_backward(tmp_path: Path):
    rows = [neusight_row("train", 100.0, 190.0)]
    whole, backward = step_rows(tables(tmp_path, neusight_model_latency=rows))
    assert (whole.phases, whole.seconds) == ("gradients", pytest.approx(0.29))
    assert (backward.phases, backward.seconds) == ("backward", pytest.approx(0.19))
    assert is_judged(whole)
    assert not is_fitted(whole)
    assert is_fitted(backward)
    assert not is_judged(backward)


def test_inference_is_fitted_and_judged_as_it_is(tmp_path: Path):
    rows = [neusight_row("infer", 100.0, 0.0)]
    (row,) = step_rows(tables(tmp_path, neusight_model_latency=rows))
    assert row.phases == "forward"
    assert is_fitted(row)
    assert is_judged(row)
    assert not row.waits_for_memory


@pytest.mark.parametrize(("forward_ms", "waits"), [(100.0, False), (200.0, True)])
def test_a_forward_beside_which_its_backward_is_short_waits(
    tmp_path: Path, forward_ms: float, waits: bool
):
    rows = [neusight_row("train", forward_ms, 190.0)]
    whole, _ = step_rows(tables(tmp_path, neusight_model_latency=rows))
    assert whole.waits_for_memory is waits
