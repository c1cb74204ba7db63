"""The fastest matrix product of each of today's accelerators, as somebody's search found it.

Whole steps were published of few devices since 2022; what their matrix engines sustain under full
load was. A search over thousands of shapes names the best, which is above what most shapes reach:
so it tells what the device can sustain, and not how kernels use tiles.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from measured_rows import OpRow
from traintime.hardware.devices import ACCELERATORS, find_device

SOURCE = "mamf"
HALF_BYTES = 2.0


def best_products(folder: Path) -> list[OpRow]:
    """Return the best products in bf16 of GPUs.

    Args:
        folder: Of the tables (mamf_matmul.csv: Bekman, ml-engineering, mamf-finder).
    """
    with (folder / "mamf_matmul.csv").open(encoding="utf-8", newline="") as file:
        return [
            _product(row)
            for row in csv.DictReader(file)
            if row["precision"] == "bf16" and find_device(row["hardware"]).kind not in ACCELERATORS
        ]


def _product(row: dict[str, str]) -> OpRow:
    """Return a row "gemm 1024x10240x5120": rows, columns, inner side."""
    m, n, k = map(float, re.findall(r"\d+", row["model"]))
    flops = 2.0 * m * n * k
    return OpRow(
        kind="matrix product",
        device=row["hardware"],
        sides=(1.0, m, n, k),
        flops=flops,
        num_bytes=HALF_BYTES * (m * k + k * n + m * n),
        window=1,
        seconds=flops / (float(row["value"]) * 1e12),
        precision="bf16",
        source=SOURCE,
    )
