"""Chains of blocks alike in a module, and what each block leaves in memory when it has run.

A transformer's layers are one: activations may be recomputed block by block, and weights that are
divided over devices are gathered so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from traintime.workload.kernels import Blocks, fit_amount, inside_of
from traintime.workload.live_bytes import LiveBytes, tensors_of


class BlockBytes(NamedTuple):
    """Memory of one block in a forward.

    Args:
        kept: What it left beyond what was there, its result included.
        passed: Its result.
        most: The most that lived while it ran, beyond what was there.
    """

    kept: int
    passed: int
    most: int


def chains(module: nn.Module) -> dict[str, list[nn.Module]]:
    """Return the outermost lists of at least two modules of one class, by path.

    Layers that have no parts, such as the Linears of a Sequential, are no blocks.
    """
    found: dict[str, list[nn.Module]] = {}
    for path, part in module.named_modules():
        inside = any(path.startswith(inside_of(chain)) for chain in found)
        if not inside and isinstance(part, nn.ModuleList | nn.Sequential):
            blocks = list(part.children())
            if len(blocks) > 1 and _alike(blocks):
                found[path] = blocks
    return found


def _alike(blocks: Sequence[nn.Module]) -> bool:
    one_class = len({type(block) for block in blocks}) == 1
    return one_class and all(
        any(block.children()) and any(True for _ in block.parameters()) for block in blocks
    )


@contextlib.contextmanager
def watched(
    found: Mapping[str, Sequence[nn.Module]],
    memory: LiveBytes,
    data_bytes: Sequence[int],
    into: list[BlockBytes],
) -> Generator[None]:
    """Write down what each block leaves in memory as it runs.

    Args:
        found: Chains.
        memory: That is counted.
        data_bytes: The most that lived at each operation so far.
        into: One for each block that has run.
    """
    entered: list[tuple[int, int]] = []
    hooks: list[Any] = []

    def enter(*_: Any) -> None:
        entered.append((memory.data, len(data_bytes)))

    def leave(_block: nn.Module, _given: Any, result: Any) -> None:
        before, since = entered.pop()
        passed = {id(t.untyped_storage()): t.nbytes for t in tensors_of(result)}
        most = max((*data_bytes[since:], memory.data)) - before
        into.append(BlockBytes(memory.data - before, sum(passed.values()), most))

    for block in (block for blocks in found.values() for block in blocks):
        hooks += [block.register_forward_pre_hook(enter), block.register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def blocks_of(
    module: nn.Module, steps: Mapping[tuple[int, float], Sequence[BlockBytes]]
) -> Blocks | None:
    """Return a module's blocks for any batch and input size; None if each does not run just once.

    Args:
        module: That was captured.
        steps: What its blocks left, by batch size and u.
    """
    found = chains(module)
    sizes = [_parameters(block) for blocks in found.values() for block in blocks]
    if not sizes or any(len(step) != len(sizes) for step in steps.values()):
        return None
    return Blocks(
        paths=tuple(found),
        count=len(sizes),
        largest=max(sizes),
        parameters=sum(sizes),
        kept_bytes=fit_amount({at: _sum(b.kept for b in step) for at, step in steps.items()}),
        passed_bytes=fit_amount({at: _sum(b.passed for b in step) for at, step in steps.items()}),
        most_bytes=fit_amount({at: float(max(b.most for b in s)) for at, s in steps.items()}),
    )


def _parameters(block: nn.Module) -> int:
    return sum(parameter.numel() for parameter in block.parameters())


def _sum(values: Iterable[int]) -> float:
    return float(sum(values))
