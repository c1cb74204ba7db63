"""Operations and training steps on a GPU: what the law of kernel times is calibrated by.

    python benchmarks/gpu_ops.py                        # under five minutes on an H200
    python benchmarks/gpu_ops.py --graphs --compiled    # each model as a CUDA graph and compiled
    python benchmarks/gpu_ops.py --device cpu --quick   # a few cases, to see that it runs
    python benchmarks/gpu_ops.py --from-results FILE    # the table of an earlier run

It needs this repository's `src` and torch, nothing else; models of torchvision and timm are added
where they can be imported. It writes `results/gpu_ops-DEVICE.json` as it goes, so that what was
measured stays when a case, or the machine, gives up.

Each operation is timed between two CUDA events, with caches flushed before each call and the host
ahead of the device, so launches are hidden. Rows are as measured: `overheads` says what two events
see of nothing. Kind, sides, FLOP and bytes of a row are what the capture counts of the same call.

A row's role is "forward", "backward" (the input's gradient) or "weight". A matrix product's role
says how its operands lie: x·Wᵀ, g·W or gᵀ·x, as in a linear layer.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import torch

import measured_on
from gpu.clocks import clock_of
from gpu.facts import spec_of, torch_facts, watched
from gpu.forecasts import add_predictions
from gpu.launches import dispatch_costs, overheads
from gpu.models import OWN_MODELS, TINY_MODELS, foreign_models
from gpu.operations import OPERATIONS, op_row
from gpu.record import Record, Row
from gpu.steps import step_cases, step_row
from gpu.tables import in_words

SHARE_FOR_OPS = 0.55  # of the budget; the rest is for training steps


def main() -> None:
    """Measure what the command line asks for, or print what was."""
    given = _arguments()
    if given.from_results:
        result = json.loads(given.from_results.read_text("utf-8"))
    else:
        result = measure(given)
    print(in_words(result))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure operations, dispatch and steps, and return what was written."""
    device = given.device
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("Torch sees no CUDA device here. Smoke test: --device cpu --quick")
    torch.backends.cudnn.benchmark = given.autotune
    if given.quick and device == "cpu":
        torch.set_num_threads(1)  # spinning threads would wait for whoever else is there
    began_s = time.perf_counter()
    record = _empty_record(given)
    facts = record.result["measured_on"]
    with watched(device, facts, "during operations"):
        _measure_ops(record, given, began_s + SHARE_FOR_OPS * given.budget)
    with watched(device, facts, "during steps"):
        _measure_steps(record, given, began_s + given.budget)
    facts["seconds"] = time.perf_counter() - began_s
    record.write()
    spec = spec_of(record.result["device_key"])
    if spec and not given.no_predictions:
        add_predictions(record.result["steps"], spec)
        record.write()
    print(f"Written to {record.path}")
    return record.result


def _empty_record(given: argparse.Namespace) -> Record:
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    spec = spec_of(given.device_key or name)
    key = spec.key if spec else re.sub(r"[^a-z0-9]+", "-", name.lower())
    path = given.out or Path(__file__).parent / "results" / f"gpu_ops-{key}.json"
    facts = measured_on.measured_on(["traintime"])
    facts["torch"] = torch_facts(given.device) | {"budget_s": given.budget}
    head = {"benchmark": "gpu_ops", "device_key": spec.key if spec else "", "measured_on": facts}
    return Record(path, head | {"ops": [], "steps": [], "problems": []})


def _measure_ops(record: Record, given: argparse.Namespace, until_s: float) -> None:
    clock = clock_of(given.device)
    record.result["overheads"] = overheads(clock, given.device)
    record.result["dispatch"] = dispatch_costs(clock, given.device)
    families = [list(family()) for family in OPERATIONS]
    if given.quick:
        families = [family[:2] for family in families]
    cases = [case for family in families for case in family]
    random.Random(0).shuffle(cases)  # so that what is done when time runs out is a fair sample

    def row_of(number: int) -> Row:
        return op_row(cases[number], clock, given.device)

    record.add_rows("ops", [case.label for case in cases], row_of, until_s)
    clock.close()
    print(f"{len(record.result['ops'])} of {len(cases)} operations", flush=True)


def _measure_steps(record: Record, given: argparse.Namespace, until_s: float) -> None:
    clock = clock_of(given.device)
    clock.close()  # the memory of a step is counted, so the clock may hold none
    models = TINY_MODELS if given.quick else OWN_MODELS | foreign_models()
    graphs = ["graph"] if given.graphs and given.device == "cuda" else []
    cases = step_cases(models, modes=[*graphs, *["compiled"] * given.compiled])
    least_calls = 3 if given.quick else 10

    def row_of(number: int) -> Row:
        print(cases[number].label, flush=True)
        return step_row(cases[number], clock, given.device, least_calls=least_calls)

    record.add_rows("steps", [case.label for case in cases], row_of, until_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--device-key", help="in the catalogue; default: by the device's name")
    parser.add_argument("--budget", type=float, default=280, metavar="SECONDS", help="default: 280")
    parser.add_argument("--quick", action="store_true", help="two cases a family, three steps")
    parser.add_argument("--graphs", action="store_true", help="steps as CUDA graphs, too")
    parser.add_argument("--compiled", action="store_true", help="steps by torch.compile, too")
    parser.add_argument("--autotune", action="store_true", help="let cuDNN try its algorithms")
    parser.add_argument("--no-predictions", action="store_true", help="do not capture the models")
    parser.add_argument("--from-results", type=Path, metavar="FILE", help="print this, run nothing")
    parser.add_argument("--out", type=Path, help="default: results/gpu_ops-DEVICE.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
