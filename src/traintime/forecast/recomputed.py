"""What is computed again where each block keeps its input alone (activation checkpointing).

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost": the forward of every block runs
a second time, just before its backward. What stands outside the blocks (embeddings, a last layer
and the loss) does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from traintime.errors import InputError
from traintime.forecast.device_step import KernelTime
from traintime.workload.kernels import Blocks, KernelGraph


def recomputed_kernels(graph: KernelGraph, times: Iterable[KernelTime]) -> tuple[KernelTime, ...]:
    """Return the kernels of the forward that run again; those alike in and outside blocks do all.

    Args:
        graph: Captured with its blocks.
        times: Of a micro-batch.

    Raises:
        InputError: Its blocks are not known.
    """
    blocks = blocks_of(graph)
    return tuple(
        time for time in times if time.kernel.phase == "forward" and blocks.hold(time.kernel)
    )


def blocks_of(graph: KernelGraph) -> Blocks:
    """Return the blocks of a graph.

    Raises:
        InputError: None are known.
    """
    if graph.blocks is None:
        raise InputError(
            f"recompute=true computes blocks alike again, and {graph.model} has none that are "
            "known. Leave recompute= out; in code of your own, put the blocks (modules of one "
            "class that have layers in them, each run once) into an nn.ModuleList of their own"
        )
    return graph.blocks
