"""How a job is computed on a machine: the choices that change its time and not its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Execution:
    """Where and in which form a job is computed.

    Args:
        device: "cpu" or "cuda:N".
        precision: "fp32", or "bf16" for autocast with fp32 weights.
        memory_format: Of images: "contiguous" (NCHW) or "channels_last" (NHWC).
        fused: Whether convolutions with few channels are computed with their ReLU and pooling.
        compile: Whether torch.compile is used.
    """

    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    memory_format: Literal["contiguous", "channels_last"] = "channels_last"
    fused: bool = False
    compile: bool = False

    def __str__(self) -> str:
        parts = [self.device, self.precision, self.memory_format]
        return ", ".join([*parts, *["fused"] * self.fused, *["compiled"] * self.compile])
