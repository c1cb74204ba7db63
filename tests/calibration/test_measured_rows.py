"""Which networks and number formats the rows of public tables stand for."""

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

from measured_rows import step_rows, without_weights

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
