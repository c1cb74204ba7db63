"""Make `src/traintime/hardware/devices.csv` from a table of device specifications.

    python scripts/make_devices.py HARDWARE_SPECS.csv [TARGET.csv]

Rows keep their order and their figures; columns that the catalogue does not need are left out. The
same table always gives the same file. Source and date stand in the file's first lines.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from device_caches import cache_mib

TARGET = Path(__file__).parents[1] / "src" / "traintime" / "hardware" / "devices.csv"

CERTIFICATE = """\
# Made by scripts/make_devices.py; change the table that it reads, not this file.
# source: vendor data sheets as compiled 2026-11
# Compiled from knowledge of the sheets, which were not at hand; of the 332 figures that five public
# tables state too, 322 agree. confidence: ds = data sheet, der = derived from clock and width,
# est = estimate, alias = figures of another row, for a name that leaves the variant open.
# Peaks are dense, by tensor or matrix engine where there is one, accumulated in fp32. Bandwidths
# are 10^9 byte/s: of PCIe and Ethernet one way, of NVLink and its like mostly both ways together.
# mem_gb is 2^30 bytes, cache_mb 2^20: of GPUs, the last cache before the memory. A figure that is
# not known, or memory that is the system's, is empty or 0.
"""
COLUMNS = (
    "hardware",
    "vendor",
    "name",
    "year",
    "architecture",
    "kind",
    "fp32_tflops",
    "tf32_tflops",
    "fp32_matrix_tflops",
    "fp16_tflops",
    "bf16_tflops",
    "fp8_tflops",
    "mem_gb",
    "mem_bw_gbs",
    "cache_mb",
    "tdp_w",
    "interconnect",
    "interconnect_gbs",
    "num_sms_or_cores",
    "boost_clock_mhz",
    "confidence",
    "note",
)
FP32_MATRIX, FP16, CACHE = "fp32_matrix_tflops", "fp16_tflops", "cache_mb"
ONE_RATE = ("Apple GPU",)
"""Architectures that compute 16 bits as fast as 32; the table states it of some devices alone."""
STATED_IN_NOTE = re.compile(r"fp32 matrix ([\d.]+)")
TWICE_IN_MATRICES = ("CDNA", "CDNA2")
"""Architectures whose matrix engine does twice the plain fp32 rate (AMD, CDNA 2 white paper)."""
TEXTS = {"hardware", "vendor", "name", "architecture", "kind", "interconnect", "confidence", "note"}


def main() -> None:
    """Read the table that the first argument names and write the catalogue."""
    if len(sys.argv) not in (2, 3):
        sys.exit("Type: python scripts/make_devices.py HARDWARE_SPECS.csv [TARGET.csv]")
    source, *targets = (Path(word) for word in sys.argv[1:])
    target = targets[0] if targets else TARGET
    try:
        with source.open(encoding="utf-8", newline="") as file:
            rows = _checked(csv.DictReader(file))
    except (OSError, ValueError) as error:
        sys.exit(f"'{source}' cannot be used: {error}")
    target.write_text(CERTIFICATE + _as_csv(rows), encoding="utf-8", newline="\n")
    print(f"{target}: {len(rows)} devices, {target.stat().st_size} bytes")


def _checked(reader: csv.DictReader[str]) -> list[dict[str, str]]:
    """Return the rows, each with every column, a key of its own and figures that are numbers."""
    missing = set(COLUMNS) - {FP32_MATRIX, CACHE} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"it has no column {', '.join(sorted(missing))}")
    rows = [row | _derived(row) for row in reader]
    for row in rows:
        _check(row)
    keys = [row["hardware"] for row in rows]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"these keys stand there more than once: {', '.join(twice)}")
    return rows


def _derived(row: dict[str, str]) -> dict[str, str]:
    half = row["fp32_tflops"] if row["architecture"] in ONE_RATE else row[FP16]
    return {FP32_MATRIX: _fp32_matrix(row), FP16: half, CACHE: cache_mib(row["hardware"])}


def _fp32_matrix(row: dict[str, str]) -> str:
    """Return the peak of fp32 products where a matrix engine computes them in full precision."""
    stated = STATED_IN_NOTE.search(row["note"] or "")
    if stated:
        return stated.group(1)
    twice = row["architecture"] in TWICE_IN_MATRICES and row["fp32_tflops"]
    return f"{2 * float(row['fp32_tflops']):g}" if twice else ""


def _check(row: dict[str, str]) -> None:
    for column in COLUMNS:
        value = row[column] or ""
        if column not in TEXTS and value and not _is_quantity(value):
            raise ValueError(f"{column} of {row['hardware']} is '{value}', which is no quantity")


def _is_quantity(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False


def _as_csv(rows: Iterable[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    main()
