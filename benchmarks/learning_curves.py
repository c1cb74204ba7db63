"""Measure what the presets reach after each epoch, and how much that varies from seed to seed.

    python benchmarks/learning_curves.py                       # all pairs: a quarter of an hour
    python benchmarks/learning_curves.py --pairs lenet:mnist   # one pair; the others are kept

Writes src/traintime/forecast/learning_curves.json, which forecasts of a target stand on. Curves are
of the validation part, so they say nothing that a run itself would not see.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import measured_on
import traintime
from traintime.ledger.run_folder import RunFolder

PAIRS = (
    "lenet:mnist",
    "lenet:fashion-mnist",
    "lenet:cifar10",
    "lenet:digits",
    "mlp:mnist",
    "mlp:fashion-mnist",
    "mlp:cifar10",
    "mlp:digits",
)
OUT = Path(str(files("traintime.forecast").joinpath("learning_curves.json")))
NOT_LEARNING = {
    "device", "precision", "memory_format", "convolution", "compile", "checkpoint_every_s", "seed",
    "target", "patience", "min_delta", "monitor",
}  # fmt: skip
"""Fields that do not change what a run learns, or that end it early."""


def main() -> None:
    """Train every pair with every seed and write the table."""
    given = _arguments()
    table = json.loads(OUT.read_text(encoding="utf-8"))
    curves = {f"{curve['model']}:{curve['data']}": curve for curve in table["curves"]}
    for pair in given.pairs.split(","):
        model, _, data = pair.partition(":")
        curves[pair] = _measure(model, data, given.seeds)
        ordered = [curves[name] for name in sorted(curves)]
        facts = measured_on.measured_on(["traintime"])
        measured_on.write(OUT, {"measured_on": facts, "curves": ordered})
        last = [run["validation_accuracy"][-1] for run in curves[pair]["runs"]]
        print(f"{pair}: {min(last):.4f} - {max(last):.4f} after the last epoch", flush=True)


def _measure(model: str, data: str, seeds: int) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    recipe: dict[str, Any] = {}
    for seed in range(seeds):
        result = traintime.train(model=model, data=data, seed=seed)
        folder = RunFolder.open(result.folder)
        recipe = folder.read_recipe()
        epochs = list(folder.records("epochs"))
        runs.append(
            {
                "seed": seed,
                "validation_accuracy": [round(e["validation_accuracy"], 5) for e in epochs],
                "validation_loss": [round(e["validation_loss"], 5) for e in epochs],
                "test_accuracy": round(result.test.accuracy, 5),
            }
        )
        traintime.delete_run(result.run)
    kept = {key: value for key, value in recipe.items() if key not in NOT_LEARNING}
    return {"model": model, "data": data, "recipe": kept, "runs": runs}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", default=",".join(PAIRS), help=f"default: {','.join(PAIRS)}")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... (default: 5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
