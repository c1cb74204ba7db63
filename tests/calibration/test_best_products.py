import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calibration"))

from best_products import best_products

TABLE = """model,precision,hardware,value
gemm 1024x2048x512,bf16,b200,1000
gemm 1024x2048x512,fp8,b200,2000
gemm 1024x2048x512,bf16,gaudi2,400
"""


def test_products_in_bf16_of_gpus_are_rows(tmp_path: Path):
    (tmp_path / "mamf_matmul.csv").write_text(TABLE)
    (row,) = best_products(tmp_path)
    assert (row.device, row.precision, row.source) == ("b200", "bf16", "mamf")
    assert row.sides == (1.0, 1024.0, 2048.0, 512.0)
    assert row.flops == 2.0 * 1024 * 2048 * 512
    assert row.seconds == pytest.approx(row.flops / 1e15)
    assert row.num_bytes == 2.0 * (1024 * 512 + 512 * 2048 + 1024 * 2048)
