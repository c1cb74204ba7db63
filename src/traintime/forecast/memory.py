"""Peak memory of a training process, by part."""

from __future__ import annotations

from collections.abc import Mapping

from traintime.forecast.input_rate import InputRate
from traintime.hardware.execution import Execution
from traintime.workload.op_graph import Workload

FRAMEWORK_BYTES = {"cpu": 330 * 2**20, "cuda": 0}
"""A Python process with torch loaded and warmed up; a CUDA context is not counted on the GPU."""
WORKSPACE_SHARE = 0.35
"""Scratch space and gradients of activations, relative to what the forward keeps."""


def predict_memory(
    workload: Workload,
    execution: Execution,
    micro_batches: int,
    extra_vectors: int,
    *,
    is_saved: bool = False,
    input_rate: InputRate | None = None,
) -> Mapping[str, float]:
    """Return bytes by part; their sum is the expected peak.

    Args:
        workload: What is trained.
        execution: Gives the precision of what is kept for the backward.
        micro_batches: Parts that a batch is split into.
        extra_vectors: Copies of the parameters beside the optimizer's (averages, best so far).
        is_saved: Whether checkpoints are written while it trains, from a copy of what they hold;
            that lies in the process's memory.
        input_rate: Of samples that are not in memory; None if all are.
    """
    graph = workload.graph
    weights = 4.0 * graph.parameters
    value_bytes = 2.0 if execution.precision == "bf16" else 4.0
    kept = sum(op.kept_per_sample for op in graph.ops) * workload.batch_size / micro_batches
    activations = kept * value_bytes
    copies = 1 + graph.optimizer_slots + extra_vectors if is_saved else 0
    on_cpu = execution.device == "cpu"
    return {
        "weights": weights,
        "gradients": weights,
        "optimizer": weights * (graph.optimizer_slots + extra_vectors),
        "activations": activations,
        "workspace": activations * WORKSPACE_SHARE,
        "checkpoint": weights * copies if on_cpu else 0.0,
        "data": float(_data_bytes(workload, input_rate, on_cpu=on_cpu)),
        "framework": float(FRAMEWORK_BYTES[execution.device.partition(":")[0]]),
    }


def _data_bytes(workload: Workload, input_rate: InputRate | None, *, on_cpu: bool) -> int:
    if input_rate is None:
        return workload.resident_bytes
    batch, sample = workload.batch_size, workload.sample_bytes
    return input_rate.held_bytes(batch, sample) if on_cpu else batch * sample
