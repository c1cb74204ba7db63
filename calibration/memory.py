"""Fit how much more memory a training holds than its tensors need.

timm's benchmark halves its batch, in two steps, until it runs: so the batch of a row fitted into
the RTX 3090's 24 GiB and the next larger one did not. A factor and its log-normal deviation are
fitted to that by maximum likelihood, for each version of torch.

    .venv/bin/python calibration/memory.py MEASURED
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from pathlib import Path
from statistics import NormalDist

from graphs import load_graph
from traintime.forecast.device_memory import DRIVER_SHARE, GPU_CONTEXT_BYTES
from traintime.units import GIB
from traintime.workload.kernels import KernelGraph

CAPACITY_BYTES = 24 * GIB * (1 - DRIVER_SHARE) - GPU_CONTEXT_BYTES
FIRST_BATCH = 512
LEAST_LIKELIHOOD = 1e-9  # of one row, so that no broken capture decides alone
Bounds = tuple[float, float | None]


def main() -> None:
    """Print the factor and its deviation for each version of torch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    rows = bounds(parser.parse_args().measured / "timm_train.csv")
    for software, found in sorted(rows.items()):
        factor, sigma = fit(list(found))
        print(f"{software}: {len(found)} rows, factor {factor:.3f}, sigma {sigma:.2f}")


def bounds(table: Path) -> dict[str, list[Bounds]]:
    """Return bytes of tensors at the batch that fitted and at the one that did not, by software."""
    found: dict[str, dict[tuple[str, ...], Bounds]] = defaultdict(dict)
    with table.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            side, batch = int(row["input_size"].split("x")[1]), int(row["batch_per_device"])
            graph = load_graph((f"timm:{row['model']}", side, "amp"))
            if graph is None:
                continue
            failed = _next_larger(batch)
            key = (row["model"], row["input_size"], row["memory_format"])
            found[row["framework"]][key] = (
                tensor_bytes(graph, batch),
                tensor_bytes(graph, failed) if failed else None,
            )
    return {software: list(rows.values()) for software, rows in found.items()}


def _next_larger(batch: int) -> int | None:
    """Return the batch that was tried before: 512, 384, 256, 192, 128, ..."""
    if batch >= FIRST_BATCH:
        return None
    power = 1 << (batch.bit_length() - 1)
    return 2 * power if batch > power else power + power // 2 if power > 1 else 2


def tensor_bytes(graph: KernelGraph, batch: int) -> float:
    """Return weights, momentum, buffers, input and what is live, where gradients were not freed."""
    weights = 4.0 * graph.parameters
    live = max(graph.peak_bytes.at(batch), graph.kept_bytes.at(batch) + weights)
    return 2 * weights + graph.buffers_bytes + 4 * batch * math.prod(graph.input_shape) + live


def fit(rows: list[Bounds]) -> tuple[float, float]:
    """Return the likeliest factor and deviation on a grid."""
    grid = ((mean / 200, sigma / 100) for mean in range(-20, 80) for sigma in range(2, 30))
    mean, sigma = max(grid, key=lambda point: _likelihood(rows, *point))
    return math.exp(mean), sigma


def _likelihood(rows: list[Bounds], mean: float, sigma: float) -> float:
    total = 0.0
    for fitted, failed in rows:
        normal = NormalDist(mean, sigma)
        below = normal.cdf(math.log(CAPACITY_BYTES / failed)) if failed else 0.0
        total += math.log(
            max(normal.cdf(math.log(CAPACITY_BYTES / fitted)) - below, LEAST_LIKELIHOOD)
        )
    return total


if __name__ == "__main__":
    main()
