"""What two settings of the process bring: short spins of OpenMP, and kept memory.

    python benchmarks/busy_machine.py

A LeNet step is timed in processes of their own, in turn, on the machine as it is and beside one
process per core that keeps it busy. Ratios are against torch's defaults in the same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import measured_on

STEP = """
import sys
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.threads import share_processor
if "spin" in sys.argv: share_processor()
if "keep" in sys.argv: keep_freed_memory()
import torch
from torch.nn import functional as F
from traintime.architecture import network_for
from traintime.hardware.timer import time_calls
from traintime.models.build import build
from traintime.recipe import read_recipe
from traintime.train.flat import FlatParameters
from traintime.train.optimizers import make_optimizer
recipe = read_recipe(["data=mnist", "model=lenet"])
net = build(network_for(recipe, (1, 28, 28), 10), fused=True)
flat = FlatParameters(net, channels_last=False)
optimizer = make_optimizer(flat, recipe)
x = torch.randn(256, 1, 28, 28).bfloat16()
y = torch.randint(0, 10, (256,))
def step():
    with torch.autocast("cpu", torch.bfloat16):
        scores = net(x)
    F.cross_entropy(scores.float(), y).backward()
    with torch.no_grad():
        optimizer.step(1e-3, 5)
        flat.gradient.zero_()
print(time_calls(step, budget_s=2, most_calls=10_000).median_s)
"""
VARIANTS = {
    "torch's defaults": (),
    "short spins": ("spin",),
    "kept memory": ("keep",),
    "both": ("spin", "keep"),
}
BUSY = "while True: pass"


def main() -> None:
    """Time every variant, print medians and ratios, write the result."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime"])
    seconds: dict[str, dict[str, list[float]]] = {}
    for _ in range(given.rounds):
        for place in ("as it is", "every core busy"):
            _round(place, seconds.setdefault(place, {}))
    for place, by_variant in seconds.items():
        print(f"A training step of LeNet, batch 256, bf16, {place}; n = {given.rounds}")
        for variant, values in by_variant.items():
            defaults = by_variant["torch's defaults"]
            ratios = [a / b for a, b in zip(values, defaults, strict=True)]
            print(
                f"  {variant:18} {statistics.median(values) * 1e3:8.2f} ms "
                f"({min(values) * 1e3:.2f}-{max(values) * 1e3:.2f})   "
                f"{statistics.median(ratios):.3f} × the defaults"
            )
    print(measured_on.in_words(facts))
    measured_on.write(given.out, {"measured_on": facts, "seconds": seconds})


def _round(place: str, seconds: dict[str, list[float]]) -> None:
    busy: list[subprocess.Popen[bytes]] = []
    if place != "as it is":
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        for variant, words in VARIANTS.items():
            seconds.setdefault(variant, []).append(_step_seconds(words))
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _step_seconds(words: tuple[str, ...]) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    command = [sys.executable, "-c", STEP, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "busy_machine.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
