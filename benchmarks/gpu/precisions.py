"""The precisions that are measured, and how torch is told to compute in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
MATRIX_PRECISIONS = tuple(DTYPES)
TRAFFIC_PRECISIONS = ("fp32", "bf16")


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Let products of fp32 values use TF32 or keep them from it."""
    allowed = precision == "tf32"
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def half_precision(device: str) -> torch.dtype:
    """Return what autocast casts to: bf16 where the device multiplies it."""
    capable = device != "cuda" or torch.cuda.get_device_capability() >= (8, 0)
    return torch.bfloat16 if capable else torch.float16
