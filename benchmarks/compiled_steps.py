"""What torch.compile makes of a step on this CPU.

    python benchmarks/compiled_steps.py                   # 20 models, some 20 minutes
    python benchmarks/compiled_steps.py --only nanogpt --out nanogpt.json

Each network of `unseen_models.py` is trained at the smaller of its batch sizes as it is and
compiled by torch's default compiler, in turn, in one process. Writes results/compiled_steps.json.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter

import torch
import torch._inductor.config as inductor_config

import measured_on
from traintime.hardware.allocator import keep_freed_memory
from unseen_models import MODELS, Named, training_step

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("fp32", "bf16")
ROUNDS = 7
ROUND_S = 0.25
"""Of each of both, in turn."""


@dataclass(frozen=True)
class Compared:
    """A step as it is and compiled.

    Args:
        model: Name in `unseen_models.MODELS`.
        precision: "fp32", or "bf16" for autocast with fp32 weights.
        batch_size: Samples of a step.
        eager_s: Median over rounds of a step as it is.
        compiled_s: The same compiled.
        compile_s: What the first compiled step took.
        ratios: compiled / eager of each round.
    """

    model: str
    precision: str
    batch_size: int
    eager_s: float
    compiled_s: float
    compile_s: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Compiled / eager, the median over rounds."""
        return median(self.ratios)


def main() -> None:
    """Compare model by model, writing as it goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="one model")
    parser.add_argument("--out", type=Path, default=RESULTS / "compiled_steps.json")
    given = parser.parse_args()
    keep_freed_memory()
    inductor_config.force_disable_caches = True  # what was compiled before is compiled again
    facts = measured_on.measured_on(["traintime"])
    found: list[Compared] = []
    problems: list[str] = []
    for model in MODELS:
        for precision in PRECISIONS:
            if given.only not in (None, model.name):
                continue
            try:
                found.append(compare(model, precision))
                print(_in_words(found[-1]), flush=True)
            except Exception as error:  # what its compiler cannot do is a result too
                what = f"{type(error).__name__}: {error}".splitlines()[0]
                problems.append(f"{model.name} {precision}: {what}")
                print(problems[-1], flush=True)
            rows = [asdict(row) for row in found]
            result = {"measured_on": facts, "rows": rows, "problems": problems}
            measured_on.write(given.out, result | {"found": summary(found)})
    print(summary(found))


def compare(model: Named, precision: str) -> Compared:
    """Train a model as it is and compiled, in turn."""
    torch.compiler.reset()
    batch_size = model.batches[0]
    eager, compiled = (
        training_step(model, precision, batch_size, compiled=how) for how in (False, True)
    )
    began_s = perf_counter()
    compiled()
    compile_s = perf_counter() - began_s
    for step in (eager, compiled):
        _mean_s(step)
    rounds = [(_mean_s(eager), _mean_s(compiled)) for _ in range(ROUNDS)]
    return Compared(
        model.name,
        precision,
        batch_size,
        median(one for one, _ in rounds),
        median(other for _, other in rounds),
        compile_s,
        tuple(other / one for one, other in rounds),
    )


def _mean_s(step: Callable[[], None]) -> float:
    """Return seconds of a step, over a round of them."""
    began_s, count = perf_counter(), 0
    while perf_counter() - began_s < ROUND_S:
        step()
        count += 1
    return (perf_counter() - began_s) / count


def summary(rows: Sequence[Compared]) -> dict[str, float]:
    """Return what compiled steps take over those as they are, and how much that varies."""
    logs = [math.log(row.ratio) for row in rows]
    if len(logs) < 2:
        return {}
    return {
        "cases": len(rows),
        "mean": math.exp(mean(logs)),
        "sigma": stdev(logs),
        "least": math.exp(min(logs)),
        "most": math.exp(max(logs)),
    }


def _in_words(row: Compared) -> str:
    spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}"
    return (
        f"{row.model:18}{row.precision:5} batch {row.batch_size:3}: "
        f"{1e3 * row.eager_s:8.2f} ms, compiled {1e3 * row.compiled_s:8.2f} ms "
        f"after {row.compile_s:5.1f} s; ratio {row.ratio:.2f} ({spread})"
    )


if __name__ == "__main__":
    main()
