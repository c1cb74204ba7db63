"""States that a module is put into for a step of its own, and out of again."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Generator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from traintime.workload.stdout import stdout_to_stderr

HALF_TYPES = (torch.float16, torch.bfloat16)
FAILED_AT = "_traintime_layer"
"""Name under which an error carries the path of the innermost layer that it left."""


@contextlib.contextmanager
def silent() -> Generator[None]:
    """Keep still what torch says of the CPU, and its traceback of what becomes one sentence.

    What the module prints goes where errors go: our own output may have to be one document.
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings(), stdout_to_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


@contextlib.contextmanager
def training(module: nn.Module) -> Generator[None]:
    """Put a module into training mode, unless it is and a part of it is frozen."""
    modes = {part: part.training for part in module.modules()}
    if not module.training:
        module.train()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def paths(module: nn.Module, where: list[str]) -> Generator[None]:
    """Keep the path of the module that is running on top of a stack, and with errors."""
    hooks: list[Any] = []

    def leave(path: str) -> None:
        where.pop()
        error = sys.exc_info()[1]
        if error:
            vars(error).setdefault(FAILED_AT, path)

    for path, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(lambda *_, path=path: where.append(path)))
        hooks.append(
            part.register_forward_hook(lambda *_, path=path: leave(path), always_call=True)
        )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def unchanged(module: nn.Module) -> Generator[None]:
    """Put gradients, buffers and the random state back after a step that computes."""
    gradients = [parameter.grad for parameter in module.parameters()]
    buffers = [buffer.clone() for buffer in module.buffers()]
    for parameter in module.parameters():
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            parameter.grad = gradient
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.data.copy_(before)


@contextlib.contextmanager
def faked(module: nn.Module, mode: FakeTensorMode) -> Generator[list[Tensor]]:
    """Put fake tensors in place of all of a module's tensors, and the real ones back.

    Tensors are in the tables of parameters and buffers, in plain attributes, and in lists such as
    the weights of a recurrent network.
    """
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = []
    fakes: dict[int, Tensor] = {}

    def once(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in fakes:
            made = fake(value, mode)
            is_parameter = isinstance(value, nn.Parameter)
            fakes[id(value)] = nn.Parameter(made, value.requires_grad) if is_parameter else made
        return fakes[id(value)]

    for part in module.modules():
        for table in (vars(part)["_parameters"], vars(part)["_buffers"], vars(part)):
            tensors = {k: v for k, v in table.items() if _holds_tensors(v)}
            kept.append((table, tensors))
            table.update({k: tree_map(once, v) for k, v in tensors.items()})
    try:
        yield list(fakes.values())
    finally:
        for table, tensors in kept:
            table.update(tensors)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(one, Tensor) for one in cast("Sequence[Any]", value))
    return isinstance(value, Tensor)


def fake(value: Any, mode: FakeTensorMode) -> Any:
    """Return a fake tensor alike in shape, strides and type; anything else as it is.

    What is kept in 16 bits becomes fp32: a step in 16 bits throughout is forecast from one in fp32.
    """
    if not isinstance(value, Tensor):
        return value
    dtype = torch.float32 if value.dtype in HALF_TYPES else value.dtype
    with mode:
        made = torch.empty_strided(value.shape, value.stride(), dtype=dtype, device="cpu")
    return made.requires_grad_() if value.requires_grad and value.is_leaf else made
