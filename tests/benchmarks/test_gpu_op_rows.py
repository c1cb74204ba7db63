import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from traintime.hardware.devices import find_device

CALIBRATION = Path(__file__).parents[2] / "calibration"
CONVOLUTION = {
    "op": "aten.convolution_backward.weight",
    "kind": "convolution",
    "role": "weight",
    "name": "16 of 64→64 3×3/2 at 56²",
    "precision": "bf16",
    "memory_format": "contiguous",
    "sides": [1, 64, 576, 12544],
    "window": 3,
    "stride": 2,
    "flops": 2 * 64 * 576 * 12544,
    "bytes": 8.1e6,
    "num_kernels": 1,
    "median_s": 2e-5,
    "low_s": 1.9e-5,
    "high_s": 3e-5,
    "n": 30,
}


@pytest.fixture(autouse=True)
def in_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CALIBRATION))


def written(folder: Path, *ops: dict[str, Any], device_key: str = "h200") -> Path:
    path = folder / "gpu_ops.json"
    path.write_text(json.dumps({"device_key": device_key, "ops": ops}), "utf-8")
    return path


def read(path: Path) -> list[Any]:
    return importlib.import_module("measured_rows").gpu_op_rows(path)


def points_of(*changes: dict[str, Any]) -> Any:
    plain = {"kind": "matrix product", "device": "h200", "sides": (1.0, 8.0, 8.0, 8.0)}
    plain |= {"flops": 1024.0, "num_bytes": 768.0, "window": 1, "seconds": 1e-6}
    op_row = importlib.import_module("measured_rows").OpRow
    rows = [op_row(**plain | change) for change in changes]
    return importlib.import_module("points").make_points(rows, find_device)


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, CONVOLUTION))
    assert (row.kind, row.role, row.precision) == ("convolution", "weight", "bf16")
    assert (row.device, row.window, row.stride) == ("h200", 3, 2)
    assert row.sides == (1, 64, 576, 12544)
    assert (row.flops, row.num_bytes, row.seconds) == (2 * 64 * 576 * 12544, 8.1e6, 2e-5)
    assert row.memory_format == "contiguous"


def test_an_optimizers_step_is_no_kernel_of_a_graph(tmp_path: Path) -> None:
    assert read(written(tmp_path, CONVOLUTION | {"kind": "optimizer", "sides": []})) == []


def test_a_device_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--device-key"):
        read(written(tmp_path, CONVOLUTION, device_key=""))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "matrix product/forward"),
        ({"role": "backward"}, "matrix product/backward"),
        ({"role": "weight"}, "matrix product/backward"),
        ({"kind": "layer norm", "sides": (), "role": "backward"}, "layer norm/backward"),
        ({"kind": "convolution", "window": 3}, "convolution/forward/3"),
        ({"kind": "convolution", "window": 11}, "convolution/forward/7"),
        ({"kind": "convolution", "window": 3, "role": "weight"}, "convolution/weight/3"),
        ({"kind": "convolution", "window": 4, "stride": 4}, "convolution/forward/patches"),
        ({"kind": "1×1 convolution", "role": "weight"}, "1×1 convolution/weight"),
        (
            {"kind": "grouped convolution", "window": 3, "sides": (32.0, 784.0, 4.0, 36.0)},
            "grouped convolution/forward/narrow",
        ),
        (
            {"kind": "grouped convolution", "sides": (4.0, 56.0, 504.0, 784.0), "role": "weight"},
            "grouped convolution/weight/wide",
        ),
    ],
)
def test_a_row_belongs_to_the_class_of_its_captured_kernel(change: dict, name: str) -> None:
    assert points_of(change).classes == (name,)


def test_a_point_keeps_precision_and_layout() -> None:
    precisions = ("fp32", "tf32", "bf16", "fp16")
    points = points_of(*({"precision": precision} for precision in precisions))
    assert points.precision == precisions
    assert points.half.tolist() == [False, False, True, True]
    points = points_of({}, {"memory_format": "contiguous"}, {"memory_format": "channels_last"})
    assert points.contiguous.tolist() == [False, True, False]
