"""How far the loss of runs that end well rises above that of their first step.

    python benchmarks/healthy_losses.py     # about five minutes

A loss far above that of a network that knows nothing sends a run back (`train/rescue.py`). How far
is far has to be beyond what healthy runs do: losses rise for a while as the rate warms up, and come
back. Trains each model on digits with each optimizer at the learning rate of the presets, and with
SGD at twice and four times that; each step is a window of its own. Prints and writes to
results/healthy_losses.json of each run the most that its loss was over its first one, and how good
it was in the end.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import measured_on
import traintime
from traintime.errors import DivergedError
from traintime.recipe import read_recipe
from traintime.train import loop
from traintime.train.rescue import SPIKE

RESULTS = Path(__file__).parent / "results"
MODELS = ("mlp", "lenet", "resnet9")
RATES = {"sgd": (1.0, 2.0, 4.0), "adam": (1.0,), "adamw": (1.0,), "muon": (1.0,)}
"""Times that of the preset, by optimizer."""
HEALTHY = 0.5
"""Accuracy, of ten classes, from which a run has ended well."""
COMMON = {
    "data": "digits",
    "train_samples": 512,
    "batch_size": 64,
    "epochs": 16,
    "device": "cpu",
    "precision": "fp32",
}


class Losses(traintime.Callback):
    """Keeps the losses of a run."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_steps(self, record: Any) -> None:
        """Keep that of a step."""
        self.seen.append(record.loss)


def rise(model: str, optimizer: str, times: float) -> dict[str, Any]:
    """Train once; return the most that the loss was over its first, and the accuracy."""
    fields = {**COMMON, "model": model, "optimizer": optimizer}
    losses = Losses()
    lr = times * read_recipe(**fields).lr
    row = {"model": model, "optimizer": optimizer, "lr": lr}
    try:
        result = traintime.train(**fields, lr=lr, callbacks=[losses])
    except DivergedError:
        return {**row, "rise": None, "accuracy": None}
    highest = max(losses.seen) / losses.seen[0]
    return {**row, "rise": round(highest, 2), "accuracy": round(result.test.accuracy, 3)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "healthy_losses.json")
    given = parser.parse_args()
    loop.WINDOW_S = 0.0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["TRAINTIME_HOME"] = home
        for model, (optimizer, rates) in product(MODELS, RATES.items()):
            for times in rates:
                rows.append(rise(model, optimizer, times))
                print(*rows[-1].values(), flush=True)
    highest = max(row["rise"] for row in rows if (row["accuracy"] or 0.0) >= HEALTHY)
    print(f"Runs that ended well rose to {highest:g} times their first loss; a spike is {SPIKE:g}")
    facts = measured_on.measured_on(["traintime", "torch"])
    result = {"benchmark": "healthy_losses", "measured_on": facts, "highest": highest, "runs": rows}
    measured_on.write(given.out, result)
    print(f"Written to {given.out}")


if __name__ == "__main__":
    main()
