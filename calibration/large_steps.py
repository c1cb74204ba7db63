"""Steps of large language models, as rows that the fit of one device's law understands.

Public tables time them on the devices of one node, which share each batch. What the devices send
each other and what they update is taken off, by what links sustain and memory moves; what is left
is gradients of one device. Rows that compute blocks again hold a part of the forward twice, and are
left out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

from graphs import load_graph
from measured_rows import StepRow
from traintime.forecast.data_parallel import deviations_of_slowest, exchange_parameters
from traintime.forecast.sharded import Work, step_exchange_s
from traintime.hardware.devices import DeviceCount, find_device
from traintime.workload.kernels import Amount, Kernel, KernelGraph, Sides, fit_amount

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from large_model_rows import LargeRow, large_model_rows

STANDARD_LENGTH = 2048
"""That large_model_graphs.py captures up to."""
UPDATE_BYTES = 28.0
"""AdamW in fp32 reads p, g, m, v and writes p, m, v."""

SOURCES = ("llm-foundry", "vtrain")
"""Of the others there is a row or two, to judge by."""
NODE = 8
FORWARD_SHARE = 1 / 3
"""Of a micro-batch: a backward has twice the products of a forward."""
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
        graph = graph_of((row.model, row.length, "fp32"))
        if graph is None:
            continue
        taken_off_s = _exchange_s(row, graph) + _update_s(row, graph)
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


def _exchange_s(row: LargeRow, graph: KernelGraph) -> float:
    """Return what several devices cost: by what was measured, so that no law is needed for it."""
    exchange, device = exchange_parameters(), DeviceCount(find_device(row.device), row.num_devices)
    each_s = row.seconds / row.accumulate
    work = Work(each_s * FORWARD_SHARE, each_s * (1 - FORWARD_SHARE), row.accumulate)
    sent_s = step_exchange_s(row.sharding, graph, "half", device, work, exchange).median
    return sent_s + row.seconds * exchange.jitter * deviations_of_slowest(row.num_devices)


def _update_s(row: LargeRow, graph: KernelGraph) -> float:
    own = graph.parameters / (row.num_devices if row.sharding == "full" else 1)
    return UPDATE_BYTES * own / (find_device(row.device).bandwidth or math.inf)


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
