"""What torch.compile makes of a step on this CPU, against what is forecast.

    python benchmarks/compiled_steps.py                   # 20 models, some 15 minutes
    python benchmarks/compiled_steps.py --only nanogpt --out nanogpt.json
    python benchmarks/compiled_steps.py --forecast        # what was measured stays

Each network of `unseen_models.py` is trained at the smaller of its batch sizes as it is and
compiled by torch's default compiler, in turn, in one process. Nothing was fitted to a compiled
step: what is held against the ratio of both is what the capture says a compiler can join. Writes
results/compiled_steps.json.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
import torch._inductor.config as inductor_config

import measured_on
from forecast_here import BY_NAME, graph_of
from traintime.forecast.device_step import Mode
from traintime.forecast.own_cpu import spec_of_processor
from traintime.forecast.processor_parameters import processor_parameters
from traintime.forecast.processor_probes import measure_processor
from traintime.forecast.processor_step import predict_processor_step, sized_for_processor
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.machine import detect_machine
from traintime.hardware.processor import ProcessorRates, typical
from traintime.ledger.paths import cache_folder
from unseen_models import MODELS, Named, make_optimizer

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("fp32", "bf16")
ROUNDS = 7
ROUND_S = 0.25
"""Of each of both, in turn."""
LOOKS = 3


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
        processor: What it sustained meanwhile.
        forecast_eager_s: By the law of processors.
        forecast_compiled_s: The same with what a compiler joins.
    """

    model: str
    precision: str
    batch_size: int
    eager_s: float
    compiled_s: float
    compile_s: float
    ratios: tuple[float, ...]
    processor: ProcessorRates
    forecast_eager_s: float
    forecast_compiled_s: float

    @property
    def ratio(self) -> float:
        """Compiled / eager, the median over rounds."""
        return median(self.ratios)

    @property
    def forecast_ratio(self) -> float:
        """Compiled / eager, as forecast."""
        return self.forecast_compiled_s / self.forecast_eager_s


def main() -> None:
    """Compare model by model, writing as it goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="one model")
    parser.add_argument("--forecast", action="store_true", help="forecast anew, measure nothing")
    parser.add_argument("--out", type=Path, default=RESULTS / "compiled_steps.json")
    given = parser.parse_args()
    if given.forecast:
        forecast_anew(given.out)
        return
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
    eager, compiled = (_make_step(model, precision, compiled=how) for how in (False, True))
    began_s = perf_counter()
    compiled()
    compile_s = perf_counter() - began_s
    for step in (eager, compiled):
        _mean_s(step)
    processor = typical([measure_processor() for _ in range(LOOKS)])
    rounds = [(_mean_s(eager), _mean_s(compiled)) for _ in range(ROUNDS)]
    return Compared(
        model.name,
        precision,
        batch_size,
        median(one for one, _ in rounds),
        median(other for _, other in rounds),
        compile_s,
        tuple(other / one for one, other in rounds),
        processor,
        *_forecast_s(model, precision, processor),
    )


def _make_step(model: Named, precision: str, *, compiled: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    module = model.build().train()
    samples, targets = model.inputs(model.batches[0])
    optimizer = make_optimizer(model.optimizer, module.parameters())
    network = torch.compile(module) if compiled else module

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = network(samples, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _mean_s(step: Callable[[], None]) -> float:
    """Return seconds of a step, over a round of them."""
    began_s, count = perf_counter(), 0
    while perf_counter() - began_s < ROUND_S:
        step()
        count += 1
    return (perf_counter() - began_s) / count


def _forecast_s(model: Named, precision: str, processor: ProcessorRates) -> tuple[float, float]:
    """Return seconds of a step as it is and compiled."""
    graph, parameters = graph_of(model.name, precision), processor_parameters()
    spec = spec_of_processor(detect_machine(cache_folder()), processor)
    kind = "amp" if precision == "bf16" else "fp32"
    kernels = sized_for_processor(graph, model.batches[0], 1.0, kind, parameters)

    def seconds(mode: Mode) -> float:
        return predict_processor_step(
            graph, kernels, spec, parameters, optimizer=model.optimizer, mode=mode
        ).seconds

    return seconds("eager"), seconds("compiled")


def forecast_anew(path: Path) -> None:
    """Forecast what was measured by the law and the rules of today."""
    result = json.loads(path.read_text("utf-8"))
    found: list[Compared] = []
    for row in result["rows"]:
        processor = ProcessorRates(**row.pop("processor"))
        told = _forecast_s(BY_NAME[row["model"]], row["precision"], processor)
        names = ("forecast_eager_s", "forecast_compiled_s")
        found.append(Compared(processor=processor, **row | dict(zip(names, told, strict=True))))
    rows = [asdict(row) for row in found]
    measured_on.write(path, result | {"rows": rows, "found": summary(found)})
    print(summary(found))


def summary(rows: list[Compared]) -> dict[str, float]:
    """Return how far forecast ratios are from measured ones, and a ratio of 1 from them."""
    if not rows:
        return {}
    ours = [abs(row.forecast_ratio / row.ratio - 1) for row in rows]
    none = [abs(1 / row.ratio - 1) for row in rows]
    return {
        "cases": len(rows),
        "median": median(ours),
        "median_if_nothing_changed": median(none),
        "measured_mean": math.exp(sum(math.log(row.ratio) for row in rows) / len(rows)),
        "forecast_mean": math.exp(sum(math.log(row.forecast_ratio) for row in rows) / len(rows)),
    }


def _in_words(row: Compared) -> str:
    spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}"
    return (
        f"{row.model:18}{row.precision:5} batch {row.batch_size:3}: "
        f"{1e3 * row.eager_s:8.2f} ms, compiled {1e3 * row.compiled_s:8.2f} ms "
        f"after {row.compile_s:5.1f} s; ratio {row.ratio:.2f} ({spread}), "
        f"forecast {row.forecast_ratio:.2f} "
        f"({1e3 * row.forecast_eager_s:.2f} ms, {1e3 * row.forecast_compiled_s:.2f} ms)"
    )


if __name__ == "__main__":
    main()
