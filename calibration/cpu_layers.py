"""Time the operations of random single layers on this machine's CPU.

    .venv/bin/python calibration/cpu_layers.py                        # results/cpu_layer.json.gz
    .venv/bin/python calibration/cpu_layers.py --group deep --num 150 # results/cpu_deep.json.gz
    .venv/bin/python calibration/cpu_layers.py --group conv --num 350 # results/cpu_conv.json.gz

See `random_layers.py` for what is drawn. The operations alone count, not the step around them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from cpu_steps import Timed, write
from op_times import time_ops
from random_layers import MAKERS, Layer, layer
from traintime.errors import InputError
from traintime.forecast.processor_probes import measure_processor
from traintime.hardware.allocator import keep_freed_memory
from traintime.hardware.processor import ProcessorRates
from traintime.workload.capture import Subject, capture
from traintime.workload.kernels import KernelGraph

HERE = Path(__file__).parent
RATES_EVERY = 4
"""Layers between two measurements of the processor's rates."""


def make_step(one: Layer, precision: str) -> Callable[[], None]:
    """Return a call that computes a loss and all gradients."""
    torch.manual_seed(0)
    module, x = one.build().train(), one.inputs(one.batch_size)
    parameters = list(module.parameters())

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = module(x)
        if loss.requires_grad:
            loss.backward()
        for parameter in parameters:
            parameter.grad = None

    return step


def graph_of(one: Layer, precision: str) -> KernelGraph:
    """Return what a random layer launches on a CPU.

    Raises:
        InputError: It launches other operations at another batch size.
    """
    module: nn.Module = one.build().train()
    subject = Subject(
        one.name,
        "random",
        module,
        lambda b, _: ((one.inputs(b),), {}),
        (),
        loss=lambda output: output,
    )
    return capture(subject, "amp" if precision == "bf16" else "fp32", target="cpu")


def main() -> None:
    """Time them all, then write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num", type=int, default=600)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--budget", type=float, default=0.06, help="seconds for one timing")
    parser.add_argument("--group", choices=list(MAKERS), default="layer")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    keep_freed_memory()
    began, timed, waiting = perf_counter(), list[Timed](), list[Timed]()
    before = measure_processor()
    for number in range(given.num):
        waiting += _timed(layer(given.seed, number, given.group), given.budget, before)
        if number % RATES_EVERY == RATES_EVERY - 1 or number == given.num - 1:
            after = measure_processor()
            timed += [replace(one, processor=(before, after)) for one in waiting]
            before, waiting = after, []
        if number % 50 == 49:
            print(f"{perf_counter() - began:5.0f} s  {number + 1} layers", flush=True)
    write(given.out or HERE / "results" / f"cpu_{given.group}.json.gz", timed)


def _timed(one: Layer, budget_s: float, before: ProcessorRates) -> list[Timed]:
    """Return a layer in both precisions, unless no one capture holds for it."""
    found: list[Timed] = []
    for precision in ("fp32", "bf16"):
        try:
            graph = graph_of(one, precision)
        except InputError:
            continue
        step = make_step(one, precision)
        for _ in range(3):
            began = perf_counter()
            step()
            step_s = perf_counter() - began
        ops_s = time_ops(step, graph, budget_s=budget_s, most=25)
        found.append(
            Timed(
                case=one.name,
                family=one.family,
                batch_size=one.batch_size,
                precision=precision,
                optimizer="",
                step_s=step_s,
                ops_s=ops_s,
                processor=(before,),
            )
        )
    return found


if __name__ == "__main__":
    main()
