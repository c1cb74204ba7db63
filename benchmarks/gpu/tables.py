"""A result in words: shares of the data sheet by kind, and steps beside their forecasts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import measured_on
from gpu.facts import spec_of
from traintime.hardware.devices import DeviceSpec
from traintime.workload.kernels import PRODUCT_KINDS


def in_words(result: dict[str, Any]) -> str:
    """Return tables of shares by kind, and of steps beside their forecasts."""
    spec = spec_of(result["device_key"])
    facts = result["measured_on"]
    lines = [
        *_op_lines(result["ops"], spec),
        "",
        *_step_lines(result["steps"]),
        "",
        *(f"{name}: {row['median_s'] * 1e6:.1f} µs" for name, row in result["overheads"].items()),
        *(
            f"host, {name}: {row['median_s'] * 1e6:.1f} µs"
            for name, row in result["dispatch"].items()
        ),
        *(f"not measured: {row['case']}: {row['problem']}" for row in result["problems"][:20]),
        f"torch {facts['torch']['version']}; {measured_on.in_words(facts)}",
    ]
    return "\n".join(lines)


def _op_lines(rows: list[dict[str, Any]], spec: DeviceSpec | None) -> Iterator[str]:
    """Yield what each kind reaches: of the data sheet's peak and bandwidth, or in plain units."""
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["kind"], row["role"], row["precision"], row["memory_format"])
        groups.setdefault(key, []).append(row)
    units = ("of peak", "of bandwidth") if spec else ("TFLOP/s", "GB/s")
    yield f"{'kind':22}{'role':10}{'':6}{'':15}{'n':>4}  {units[0]:>16}  {units[1]:>16}"
    yield f"{'':57}  {'median':>8}{'best':>8}  {'median':>8}{'best':>8}"
    for (kind, role, precision, memory_format), alike in sorted(groups.items()):
        peak, bandwidth = _peak(spec, kind, precision), (spec.bandwidth or 0.0) if spec else 1e9
        arithmetic = [row["flops"] / row["median_s"] for row in alike]
        traffic = [row["bytes"] / row["median_s"] for row in alike]
        name = f"{kind:22}{role:10}{precision:6}{memory_format:15}{len(alike):4}"
        is_product = kind in PRODUCT_KINDS
        yield f"{name}  {_pair(arithmetic, peak if is_product else 0)}  {_pair(traffic, bandwidth)}"


def _peak(spec: DeviceSpec | None, kind: str, precision: str) -> float:
    """Return the data sheet's FLOP/s for a kind; no matrix engine computes depthwise ones."""
    if spec is None:
        return 1e12
    plain = spec.fp32_flops or 0.0
    if kind == "depthwise convolution":
        return plain
    peaks = {"tf32": spec.tf32_flops, "bf16": spec.bf16_flops, "fp16": spec.fp16_flops}
    return peaks.get(precision) or plain


def _pair(values: list[float], unit: float) -> str:
    if not unit:
        return f"{'–':>8}{'–':>8}"
    return f"{statistics.median(values) / unit:8.2f}{max(values) / unit:8.2f}"


def _step_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    name = f"{'step':30}{'':5}{'':15}{'batch':>6} {'':7}"
    yield f"{name}{'ms':>9}{'low-high':>20}{'GiB':>7}{'forecast':>10}{'ratio':>7}{'MFU':>6}"
    for row in rows:
        predicted = row.get("predicted", {})
        spread = f"{row['low_s'] * 1e3:.2f}-{row['high_s'] * 1e3:.2f}"
        line = (
            f"{row['model']:30}{row['precision']:5}{row['memory_format']:15}{row['batch_size']:6} "
            f"{row['mode']:7}{row['median_s'] * 1e3:9.2f}{spread:>20}"
            f"{row['peak_allocated_bytes'] / 2**30:7.2f}"
        )
        if "step_s" in predicted:
            ratio = predicted["step_s"] / row["median_s"]
            line += f"{predicted['step_s'] * 1e3:10.2f}{ratio:7.2f}{predicted['utilization']:6.0%}"
        yield line + f" {predicted.get('problem', '')}".rstrip()
