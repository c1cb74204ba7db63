"""Fit how much of the exchange of a divided model is hidden, `prefetched_share`, and write it.

    python calibration/sharded.py MEASURED            # folder of the public tables

Rows of llm-foundry are compared within groups of one model, device, length and kind of
recomputing, which differ in the number of devices and in the micro-batch: a group's mean error is
the law of one device's, and the rest is what the exchange is taken to cost. Every device is left
out of the fit in turn. Graphs are those of benchmarks/large_model_graphs.py.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from large_model_rows import LargeRow, large_model_rows
from large_models import job_of, model_of
from parallel import OUT
from traintime.forecast.data_parallel import Exchange, exchange_parameters
from traintime.forecast.device_parameters import fitted_parameters
from traintime.forecast.job_step import predict_job_step
from traintime.hardware.devices import DeviceCount, find_device

SHARES = tuple(share / 20 for share in range(21))
LONGEST = 4096
"""Tokens of a sample up to which attention is a small part of a step."""
Group = tuple[LargeRow, ...]


def main() -> None:
    """Print the share fitted to all groups, and what each device left out is forecast like."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    groups = groups_of(large_model_rows(parser.parse_args().measured))
    found = {share: {group: deviations(group, share) for group in groups} for share in SHARES}

    def mean_at(share: float, some: Iterable[Group]) -> float:
        return fmean(one for group in some for one in found[share][group])

    def best(some: Sequence[Group]) -> float:
        return min(SHARES, key=lambda share: mean_at(share, some))

    print(f"{sum(map(len, groups))} rows in {len(groups)} groups: {best(groups)} is hidden")
    print("mean deviation from a group's mean of log(forecast / actual)")
    print(f"{'left out':18} rows  fitted without it   nothing hidden   all hidden")
    for device in sorted({group[0].device for group in groups}):
        out = [group for group in groups if group[0].device == device]
        share = best([group for group in groups if group[0].device != device])
        fitted, nothing, everything = (mean_at(value, out) for value in (share, 0.0, 1.0))
        rows = sum(map(len, out))
        print(
            f"{device:18} {rows:4}  {fitted:.4f} at {share:.2f}      {nothing:.4f}           "
            f"{everything:.4f}"
        )
    write(best(groups))


def groups_of(rows: Iterable[LargeRow]) -> list[Group]:
    """Return rows that differ in nothing but devices and micro-batches, two or more together."""
    found: dict[tuple[object, ...], list[LargeRow]] = {}
    for row in rows:
        if row.sharding == "full" and row.source == "llm-foundry" and row.length <= LONGEST:
            alike = row.device, row.model, row.recompute, row.length
            found.setdefault(alike, []).append(row)
    return [tuple(group) for group in found.values() if len(group) > 1]


def deviations(group: Group, share: float) -> list[float]:
    """Return how far each row's log error is from the mean of all, if so much is hidden."""
    exchange = replace(exchange_parameters(), prefetched_share=share)
    logs = [math.log(_seconds(row, exchange) / row.seconds) for row in group]
    return [abs(log - fmean(logs)) for log in logs]


def _seconds(row: LargeRow, exchange: Exchange) -> float:
    device, law = DeviceCount(find_device(row.device), row.num_devices), fitted_parameters()
    sized = model_of(row)("half", row.micro_batch)
    return predict_job_step(job_of(row), sized, device, "half", law, exchange).seconds


def write(share: float) -> None:
    """Put a share among the parameters that ship."""
    values = json.loads(OUT.read_text(encoding="utf-8")) | {"prefetched_share": share}
    OUT.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
