"""Steps of large language models, as rows that the fit of one device's law understands.

Public tables time them on the devices of one node, which share each batch. What the devices send
each other and what they update is taken off as it is forecast; what is left is gradients of one
device. Rows that compute blocks again are left out, since they hold a part of the forward twice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

from graphs import load_graph
from measured_rows import StepRow
from traintime.workload.kernels import Amount, Kernel, KernelGraph, Sides, fit_amount

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from large_model_rows import LargeRow, large_model_rows
from large_models import STANDARD_LENGTH, answer

SOURCES = ("llm-foundry", "vtrain")
"""Of the others there is a row or two, to judge by."""
NODE = 8
TAKEN_OFF = ("communication", "optimizer")
MOST_TAKEN_OFF = 0.25
"""Of a step; where it is more, what is left says more of the exchange than of a device."""
BUILDERS = ("mpt:", "megatron:")


def large_steps(folder: Path) -> list[StepRow]:
    """Return the usable rows, without what several devices cost."""
    return list(_steps(large_model_rows(folder)))


def _steps(rows: list[LargeRow]) -> Iterator[StepRow]:
    for row in rows:
        if row.source not in SOURCES or row.num_devices > NODE or row.recompute:
            continue
        kinds = {share.kind: share.seconds for share in answer(row).forecast.step_by_kind}
        taken_off_s = sum(kinds.get(kind, 0.0) for kind in TAKEN_OFF)
        if taken_off_s > MOST_TAKEN_OFF * row.seconds:
            continue
        yield StepRow(
            source=row.source,
            model=row.model,
            family=f"{row.source}: {row.model.partition('-a')[0]}",
            size=row.length,
            device=row.device,
            precision="half",  # as gathered blocks are computed, and Megatron-LM's weights are
            memory_format="",
            batch_size=row.micro_batch,
            phases="gradients",
            software=row.source,
            seconds=(row.seconds - taken_off_s) / row.accumulate,
            optimizer="adam",
        )


def graph_of(key: tuple[str, int, str]) -> KernelGraph | None:
    """Return any measured model's graph; a large one's at the length that is asked for."""
    model, length, numerics = key
    return _at_length(*key) if model.startswith(BUILDERS) else load_graph((model, length, numerics))


@cache
def _at_length(model: str, length: int, numerics: str) -> KernelGraph | None:
    graph = load_graph((model, STANDARD_LENGTH, numerics))
    if graph is None:
        return None
    size = length / graph.input_shape[0]
    kernels = tuple(_kernel_at(kernel, size) for kernel in graph.kernels)
    return replace(graph, kernels=kernels, input_shape=(length,))


def _kernel_at(kernel: Kernel, size: float) -> Kernel:
    def fixed(amount: Amount) -> Amount:
        return fit_amount({(batch, 1.0): amount.at(batch, size) for batch in (1, 2)})

    sides = kernel.sides
    return replace(
        kernel,
        flops=fixed(kernel.flops),
        bytes_read=fixed(kernel.bytes_read),
        bytes_written=fixed(kernel.bytes_written),
        sides=sides and Sides(*(fixed(getattr(sides, field.name)) for field in fields(sides))),
    )
