"""All operations that are timed, and the row of each: what it costs and what it takes."""

from __future__ import annotations

from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpu.cases import Case
from gpu.clocks import Clock, times
from gpu.precisions import computing_in
from gpu.products import attention, batched_products, convolutions, matrix_products, recurrent
from gpu.traffic import elementwise, lookups, moves, normalizations, pooling, updates
from traintime.workload.as_on_cuda import AsOnCuda
from traintime.workload.op_rules import Counted, count_op, is_view

MOST_BYTES = 2**33  # of one case's tensors
OPERATIONS = (
    matrix_products,
    batched_products,
    convolutions,
    attention,
    recurrent,
    normalizations,
    elementwise,
    moves,
    pooling,
    lookups,
    updates,
)


class _Counter(TorchDispatchMode):
    """Counts what a call launches, as the capture does."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[Counted] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace != "prim" and not is_view(func):
            self.kernels += count_op(func, args, kwargs or {}, result).kernels
        return result


def counted_kernels(case: Case) -> list[Counted]:
    """Return the kernels that the capture sees in a case; nothing is computed."""
    if case.counted:
        return [case.counted]
    with FakeTensorMode(), AsOnCuda():
        call = case.call_on("cpu")
        with _Counter() as counter:
            call()
    return counter.kernels


def op_row(case: Case, clock: Clock, device: str) -> dict[str, Any]:
    """Time a case and return its row."""
    kernels = counted_kernels(case)
    total_bytes = sum(kernel.bytes_read + kernel.bytes_written for kernel in kernels)
    if total_bytes > MOST_BYTES:
        raise ValueError(f"{total_bytes:.3g} bytes are more than {MOST_BYTES}")
    main = max(kernels, key=lambda kernel: (kernel.flops, kernel.bytes_read + kernel.bytes_written))
    with computing_in(case.precision):
        timing = clock.time(case.call_on(device))
    return {
        "op": main.op,
        "kind": main.kind,
        "role": case.role,
        "name": case.name,
        "precision": case.precision,
        "memory_format": case.memory_format,
        "sides": list(main.sides),
        "window": main.window,
        "stride": main.stride,
        "flops": sum(kernel.flops for kernel in kernels),
        "bytes": total_bytes,
        "num_kernels": len(kernels),
        **times(timing),
    }
