"""Measure how much two runs of one seed have in common that are computed otherwise.

    python benchmarks/same_seed.py            # ten minutes

A seed decides what is validated on, what the weights begin with and in which order samples come.
Each preset is trained with each seed in fp32, every operation as torch has it, and in bf16, fused
where that can be. At the end of each epoch, the variance of the logarithm of the error within a
seed over that of all runs is what a seed does not decide. Forecasts take the rest as common to a
run and the one of its seed that is known (`traintime.forecast.convergence`). Writes
results/same_seed.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, variance
from typing import Any

import measured_on
import traintime
from learning_curves import PAIRS
from traintime.forecast.convergence import log_error
from traintime.ledger.run_folder import RunFolder

METRICS = ("accuracy", "loss")
WAYS: tuple[Mapping[str, str], ...] = (
    {"precision": "fp32", "convolution": "native"},
    {"precision": "bf16"},
)

Curves = Mapping[str, Sequence[float]]
"""Logarithms of the error after each epoch, by metric."""


def main() -> None:
    """Train, print what is common to the runs of a seed, and write it."""
    given = _arguments()
    rows: list[dict[str, Any]] = []
    for pair in given.pairs.split(","):
        model, _, data = pair.partition(":")
        seeds = [[_trained(model, data, seed, way) for way in WAYS] for seed in range(given.seeds)]
        for metric in METRICS:
            shares = list(_common([[run[metric] for run in runs] for runs in seeds]))
            rows.append({"pair": pair, "metric": metric, "common": median(shares)})
            print(f"{pair} {metric}: {rows[-1]['common']:.0%} of the variance", flush=True)
    common = median(row["common"] for row in rows)
    print(f"median of all: {common:.0%}")
    facts = measured_on.measured_on(["traintime"])
    settings = {"seeds": given.seeds, "ways": WAYS}
    result = {"benchmark": "same_seed", "measured_on": facts, "settings": settings}
    measured_on.write(given.out, result | {"median": common, "rows": rows})


def _trained(model: str, data: str, seed: int, way: Mapping[str, str]) -> Curves:
    if model == "mlp":  # has no convolution
        way = {"precision": way["precision"]}
    result = traintime.train(model=model, data=data, seed=seed, **way)
    epochs = list(RunFolder.open(result.folder).records("epochs"))
    traintime.delete_run(result.run)
    return {m: [log_error(m, epoch[f"validation_{m}"]) for epoch in epochs] for m in METRICS}


def _common(seeds: Sequence[Sequence[Sequence[float]]]) -> Iterator[float]:
    """Yield at each epoch the share of the variance that is common to a seed's runs, at least 0.

    Args:
        seeds: Of each seed the runs, of each run the log errors.
    """
    for epoch in range(len(seeds[0][0])):
        at = [[run[epoch] for run in runs] for runs in seeds]
        within = fmean(variance(values) for values in at)
        of_all = variance(value for values in at for value in values)
        if of_all > 0:
            yield max(0.0, 1 - within / of_all)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", default=",".join(PAIRS), help=f"default: {','.join(PAIRS)}")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... (default: 5)")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "same_seed.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
