"""Graphs of the models that were measured, captured once and kept in a folder.

Runs in an environment with timm, torchvision and transformers:

    python benchmarks/environments.py models
    benchmarks/.environments/models/bin/python calibration/graphs.py MEASURED
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path

from measured_rows import StepRow, step_rows
from traintime.workload.kernels import KernelGraph

FOLDER = Path(__file__).parent / ".graphs"
BEFORE_FUSED_ATTENTION = {"TIMM_FUSED_ATTN": "0"}
"""The rows are of 2022 and before, when attention was two products and a softmax."""


def key_of(row: StepRow) -> tuple[str, int, str]:
    """Return (model, size, numerics): what one graph stands for."""
    return row.model, row.size, "amp" if row.precision == "amp" else "fp32"


def path_of(key: tuple[str, int, str]) -> Path:
    """Return the file that a graph is kept in."""
    model, size, numerics = key
    return FOLDER / f"{model.replace(':', '-').replace('/', '-')}-{size}-{numerics}.json.gz"


def load_graph(key: tuple[str, int, str]) -> KernelGraph | None:
    """Return a captured graph; None if it could not be captured."""
    path = path_of(key)
    if not path.exists():
        return None
    return KernelGraph.from_json(json.loads(gzip.decompress(path.read_bytes())))


def refuse_if_old(graph: KernelGraph) -> None:
    """End if a graph was captured before it was known what a compiler joins."""
    if all(kernel.share_left == 1 for kernel in graph.kernels):
        sys.exit(
            f"{graph.model} was captured before it was known what a compiler joins: remove its "
            f"files from {FOLDER} and capture it again"
        )


def main() -> None:
    """Capture every model that a table names and is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    parser.add_argument("--backwards", action="store_true", help="from the last: a second process")
    parser.add_argument("--only", default="", help="models that start so")
    given = parser.parse_args()
    os.environ.update(BEFORE_FUSED_ATTENTION)
    FOLDER.mkdir(exist_ok=True)
    keys = sorted({key_of(row) for row in step_rows(given.measured)})
    keys = [key for key in keys if key[0].startswith(given.only)]
    missing = [key for key in keys if not path_of(key).exists()]
    if given.backwards:
        missing.reverse()
    for position, key in enumerate(missing):
        if path_of(key).exists():  # another process was here
            continue
        began = time.perf_counter()
        try:
            graph = _capture(key)
        except Exception as error:
            print(f"{key}: {type(error).__name__}: {str(error).splitlines()[:1]}", flush=True)
            continue
        packed = gzip.compress(json.dumps(graph.to_json()).encode(), mtime=0)
        path_of(key).write_bytes(packed)
        seconds = time.perf_counter() - began
        print(f"{position + 1}/{len(missing)} {key} {seconds:.1f} s", flush=True)


def _capture(key: tuple[str, int, str]) -> KernelGraph:
    from measured_models import subject
    from traintime.workload.capture import capture

    model, size, numerics = key
    return capture(subject(model, size), "amp" if numerics == "amp" else "fp32")


if __name__ == "__main__":
    main()
