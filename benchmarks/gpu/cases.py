"""A case is one operation at one size in one precision; it makes its own tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gpu.clocks import Call
from gpu.precisions import DTYPES
from traintime.workload.op_rules import Counted


@dataclass(frozen=True)
class Maker:
    """Makes tensors of random values, as one case wants them.

    Args:
        device: Where they are.
        dtype: Of what is not said otherwise.
        memory_format: "channels_last", "contiguous" or "".
    """

    device: str
    dtype: torch.dtype
    memory_format: str

    def __call__(self, *shape: int, grad: bool = False, dtype: torch.dtype | None = None) -> Tensor:
        """Return normal values; zeros would be multiplied faster than what is trained on."""
        tensor = torch.randn(shape, device=self.device, dtype=dtype or self.dtype)
        if self.memory_format == "channels_last" and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor.requires_grad_(grad)

    def numbers(self, below: int, *shape: int) -> Tensor:
        """Return random whole numbers."""
        return torch.randint(below, shape, device=self.device)


@dataclass(frozen=True)
class Case:
    """One operation at one size in one precision.

    Args:
        name: For people.
        role: "forward", "backward" or "weight".
        precision: Key of `DTYPES`.
        memory_format: Of images; "" elsewhere.
        make: Makes the tensors and returns what is timed.
        counted: What it costs, where the capture does not count it.
    """

    name: str
    role: str
    precision: str
    memory_format: str
    make: Callable[[Maker], Call]
    counted: Counted | None = None

    @property
    def label(self) -> str:
        """What tells it from the others."""
        return f"{self.name} {self.role} {self.precision} {self.memory_format}"

    def call_on(self, device: str) -> Call:
        """Make the tensors on a device and return the call."""
        return self.make(Maker(device, DTYPES[self.precision], self.memory_format))


def both(
    name: str,
    precisions: Iterable[str],
    function: Callable[..., Tensor],
    *shapes: tuple[int, ...],
    memory_format: str = "",
) -> Iterator[Case]:
    """Yield a function's forward, and its backward to all that it was given."""
    for precision, backward in itertools.product(precisions, (False, True)):
        make = partial(applied, function, shapes, backward=backward)
        yield Case(name, "backward" if backward else "forward", precision, memory_format, make)


def applied(
    function: Callable[..., Tensor],
    shapes: tuple[tuple[int, ...], ...],
    make: Maker,
    *,
    backward: bool = False,
) -> Call:
    """Return the call of a function on tensors of these shapes, or of its backward to them all."""
    given = [make(*shape, grad=True) for shape in shapes]
    return backward_of(function(*given), given) if backward else lambda: function(*given)


def backward_of(out: Tensor, wanted: list[Tensor]) -> Call:
    """Return the call of a result's backward to what is wanted."""
    grad = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, wanted, grad, retain_graph=True)
