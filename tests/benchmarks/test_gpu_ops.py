import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_ops.py"
ROW = {
    *("op", "kind", "role", "name", "precision", "memory_format", "sides", "window", "stride"),
    *("flops", "bytes", "num_kernels", "median_s", "low_s", "high_s", "n"),
}


def run(*arguments: str) -> str:
    command = [sys.executable, str(SCRIPT), *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def result_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu_ops") / "result.json"
    run("--device", "cpu", "--quick", "--device-key", "rtx-3090", "--out", str(path))
    return path


@pytest.fixture(scope="module")
def result(result_file: Path) -> dict:
    return json.loads(result_file.read_text("utf-8"))


def test_every_case_is_measured(result: dict) -> None:
    assert result["problems"] == []
    assert len(result["ops"]) == 22
    assert all(set(row) == ROW for row in result["ops"])
    assert all(0 < row["low_s"] <= row["median_s"] <= row["high_s"] for row in result["ops"])


def test_a_product_counts_two_flops_per_multiply_add(result: dict) -> None:
    row = next(row for row in result["ops"] if row["kind"] == "matrix product")
    assert row["sides"] == [1, 16, 64, 64]
    assert row["flops"] == 2 * 16 * 64 * 64
    assert row["bytes"] == 4 * (16 * 64 + 64 * 64 + 16 * 64)


def test_a_convolution_knows_its_window(result: dict) -> None:
    row = next(row for row in result["ops"] if row["kind"] == "convolution")
    assert (row["op"], row["role"], row["window"], row["stride"]) == (
        *("aten.convolution", "forward"),
        *(3, 1),
    )
    assert row["sides"] == [1, 16 * 32 * 32, 64, 3 * 9]


def test_a_forecast_stands_beside_each_step(result: dict) -> None:
    assert {row["model"] for row in result["steps"]} == {"tiny resnet", "tiny lstm"}
    assert all(row["predicted"]["step_s"] > 0 for row in result["steps"])


def test_a_result_is_shown_again(result_file: Path) -> None:
    shown = run("--from-results", str(result_file))
    assert "of peak" in shown
    assert "tiny lstm" in shown


def test_without_a_gpu_it_says_what_to_type() -> None:
    command = [sys.executable, str(SCRIPT)]
    blind = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=blind, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--device cpu --quick" in done.stderr
