"""Which types a module's weights have, and whether times are known of them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from traintime.errors import InputError
from traintime.workload.module_states import HALF_TYPES


def keeps_half(module: nn.Module, name: str) -> bool:
    """Return whether a module keeps its weights in 16 bits; else they are fp32.

    Args:
        module: As it was given.
        name: As a user calls it.

    Raises:
        InputError: Its operations or their times are not known; says what to give instead.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            f"{name} is a TorchScript module, whose operations cannot be followed. Give the "
            "nn.Module that torch.jit.script or torch.jit.trace was called with"
        )
    weights = list(module.parameters())
    if any(is_lazy(weight) for weight in weights):
        raise InputError(
            f"{name} has lazy layers, whose widths are not known yet. Call it once, "
            "module(example_batch), before it is given or returned"
        )
    kinds = {weight.dtype for weight in weights if _is_learned(weight.dtype)}
    if kinds <= {torch.float32}:
        return False
    if kinds <= set(HALF_TYPES):
        return True
    listed = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    raise InputError(
        f"{name} has weights in {listed}, and times are known where all are in fp32, or all in 16 "
        "bits. Give module.float() or module.bfloat16(); precision=amp computes the former in 16 "
        "bits"
    )


def _is_learned(kind: torch.dtype) -> bool:
    return kind.is_floating_point or kind.is_complex
