"""What torch's optimizers cost a short run: their import, and a step of LeNet.

python benchmarks/optimizer_cost.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import measured_on

TRIAL = """
import sys
from time import perf_counter
from traintime.hardware.threads import share_processor
share_processor()
import torch
from traintime.architecture import network_for
from traintime.hardware.timer import time_calls
from traintime.models.build import build
from traintime.recipe import read_recipe
from traintime.train.flat import FlatParameters
from traintime.train.optimizers import make_optimizer
recipe = read_recipe(["data=mnist", "model=lenet", f"optimizer={sys.argv[2]}"])
module = build(network_for(recipe, (1, 28, 28), 10))
began = perf_counter()
if sys.argv[1] == "ours":
    flat = FlatParameters(module, channels_last=False)
    optimizer = make_optimizer(flat, recipe)
    flat.gradient.normal_()
    def step():
        with torch.no_grad():
            optimizer.step(1e-3, 5)
else:
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[sys.argv[2]]
    more = {"momentum": 0.9, "nesterov": True} if sys.argv[2] == "sgd" else {}
    optimizer = kind(module.parameters(), lr=1e-3, **more)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    step = optimizer.step
step()
first = perf_counter() - began
print(first, time_calls(step, budget_s=1, most_calls=10_000).median_s)
"""


def main() -> None:
    """Time both, in turn, and print medians and ratios."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime"])
    result: dict[str, list[list[float]]] = {}
    for optimizer in ("sgd", "adamw"):
        for _ in range(given.rounds):
            for whose in ("ours", "torch"):
                command = [sys.executable, "-c", TRIAL, whose, optimizer]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                values = [float(word) for word in done.stdout.split()]
                result.setdefault(f"{whose} {optimizer}", []).append(values)
    for name, rounds in result.items():
        first, step = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"{name:12} construct and first step {first * 1e3:8.1f} ms, "
            f"later steps {step * 1e6:7.1f} µs; n = {len(rounds)}"
        )
    print(measured_on.in_words(facts))
    measured_on.write(given.out, {"measured_on": facts, "seconds": result})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "optimizer_cost.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
