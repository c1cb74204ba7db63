"""Fused against native convolutions: the forward and backward of LeNet, side by side.

    python benchmarks/fused_convolution.py

Each round times all variants in turn in one process; ratios are against the fastest native one.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import measured_on
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.threads import share_processor

share_processor()
keep_freed_memory()

import torch  # noqa: E402 - the threads' waiting is set before torch is loaded
from torch.nn import functional as F  # noqa: E402

from traintime.architecture import network_for  # noqa: E402
from traintime.hardware.timer import time_calls  # noqa: E402
from traintime.models.build import build  # noqa: E402
from traintime.recipe import read_recipe  # noqa: E402

VARIANTS = {
    f"{kind} {precision}": (kind, precision)
    for kind in ("native contiguous", "native channels_last", "fused contiguous")
    for precision in ("fp32", "bf16")
}


def main() -> None:
    """Time every variant and print medians and ratios."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime"])
    result: dict[str, dict[str, list[float]]] = {}
    for batch_size in (64, 256, 1024):
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for _ in range(given.rounds):
            for name, (kind, precision) in VARIANTS.items():
                seconds[name].append(_seconds(kind, precision, batch_size))
        _print(batch_size, seconds)
        result[f"batch {batch_size}"] = seconds
    print(measured_on.in_words(facts))
    measured_on.write(given.out, {"measured_on": facts, "seconds": result})


def _seconds(kind: str, precision: str, batch_size: int) -> float:
    layout = torch.channels_last if "channels_last" in kind else torch.contiguous_format
    recipe = read_recipe(["data=mnist", "model=lenet"])
    network = network_for(recipe, (1, 28, 28), 10)
    module = build(network, fused=kind.startswith("fused")).to(memory_format=layout)
    images = torch.randn(batch_size, 1, 28, 28).contiguous(memory_format=layout)
    labels = torch.randint(0, 10, (batch_size,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores = module(images)
        F.cross_entropy(scores.float(), labels).backward()
        module.zero_grad()

    return time_calls(step, budget_s=0.5).median_s


def _print(batch_size: int, seconds: dict[str, list[float]]) -> None:
    native = [values for name, values in seconds.items() if name.startswith("native")]
    best = min(native, key=statistics.median)
    print(f"LeNet on 28×28, batch {batch_size}, forward and backward; n = {len(best)}")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, best, strict=True))
        print(
            f"  {name:28} {statistics.median(values) * 1e3:7.2f} ms "
            f"({min(values) * 1e3:.2f}-{max(values) * 1e3:.2f})  {ratio:.2f} × the best native"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "fused_convolution.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
