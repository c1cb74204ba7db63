"""Optimizers on flat parameters.

`torch.optim` gives the same results (the tests hold these against it). Ours exist because the
constructor of any torch optimizer imports the compiler front end, about a second, and because one
vector needs a tenth of the calls of many small tensors.

What a step needs beside its state is taken before anything is changed. So when memory runs out the
step can be taken again, in smaller parts, with the same result.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from traintime.recipe import Recipe
from traintime.train.flat import FlatParameters

EPSILON = 1e-8
MUON_VECTOR_LR = 0.2
SMALL_SIDE = 256
ORTHOGONALIZING = 5
"""Copies of a matrix that making it orthogonal holds at once, and one to spare."""


class Piece(NamedTuple):
    """A part of the vector, with what belongs to it: views, (n,) each."""

    values: Tensor
    gradient: Tensor
    momentum: Tensor
    squares: Tensor | None = None

    def room_in(self, scratch: Tensor) -> Tensor:
        """Return as much of a scratch vector as the piece needs."""
        return scratch if len(scratch) == len(self.values) else scratch[: len(self.values)]


class Optimizer(ABC):
    """Turns gradients into better parameters.

    Args:
        parameters: What is optimised.
        recipe: Gives momentum, beta2 and weight decay.
    """

    def __init__(self, parameters: FlatParameters, recipe: Recipe) -> None:
        self.parameters = parameters
        self._parts = 1
        self.configure(recipe)
        self.state: dict[str, Tensor] = {
            name: torch.zeros_like(parameters.values) for name in self.slots
        }
        self._pieces = self._cut(self._parts)

    slots: tuple[str, ...] = ()
    """Names of the vectors that are remembered between steps; a checkpoint holds them."""

    def configure(self, recipe: Recipe) -> None:
        """Take momentum, beta2 and weight decay from a recipe, which may have changed."""
        self.momentum = recipe.momentum
        self.beta2 = recipe.beta2
        self.weight_decay = recipe.weight_decay

    def step(self, lr: float, number: int) -> None:
        """Update the parameters; nothing is changed if memory runs out.

        Args:
            lr: Learning rate of this step.
            number: Steps taken so far, this one included, so from 1.
        """
        scratch = self._scratch()
        if self.weight_decay:
            self.parameters.values[: self.parameters.num_decayed].mul_(1 - lr * self.weight_decay)
        self._update(lr, number, scratch)

    @abstractmethod
    def _update(self, lr: float, number: int, scratch: Tensor) -> None: ...

    def _scratch(self) -> Tensor:
        """Return the memory that a step needs, enough for a part of the vector."""
        longest = len(self._pieces[0].values) if self._pieces else 0
        return self.parameters.values.new_empty(longest)

    @property
    def _start(self) -> int:
        """Where the part of the vector begins that is updated as one."""
        return 0

    @property
    def parts(self) -> int:
        """Parts that the vector is updated in, one after the other; more of them need less."""
        return self._parts

    @parts.setter
    def parts(self, parts: int) -> None:
        if parts != self._parts:
            self._parts, self._pieces = parts, self._cut(parts)

    def _cut(self, parts: int) -> list[Piece]:
        """Return views of the vector, its gradient and the state, so that a step makes none."""
        end = len(self.parameters.values)
        length = max(1, -(-(end - self._start) // parts))
        pieces: list[Piece] = []
        for start in range(self._start, end, length):
            part = slice(start, min(start + length, end))
            slots = [slot[part] for slot in self.state.values()]
            pieces.append(
                Piece(self.parameters.values[part], self.parameters.gradient[part], *slots)
            )
        return pieces


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov momentum, as in Sutskever et al. 2013."""

    slots = ("momentum",)

    def _update(self, lr: float, number: int, scratch: Tensor) -> None:
        for piece in self._pieces:
            piece.momentum.mul_(self.momentum).add_(piece.gradient)
            ahead = piece.room_in(scratch)
            torch.add(piece.gradient, piece.momentum, alpha=self.momentum, out=ahead)
            piece.values.add_(ahead, alpha=-lr)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014); with decoupled weight decay AdamW (Loshchilov & Hutter 2017)."""

    slots = ("momentum", "squares")

    def _update(self, lr: float, number: int, scratch: Tensor) -> None:
        for piece in self._pieces:
            _update_by_adam(self, piece, lr, number, scratch)


class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal (Jordan et al. 2024); Adam for vectors.

    Matrices share one learning rate whatever their shape: a tall one's is scaled by the square root
    of rows / columns.
    """

    slots = ("momentum", "squares")

    def __init__(self, parameters: FlatParameters, recipe: Recipe) -> None:
        super().__init__(parameters, recipe)
        self._matrices = list(
            zip(
                parameters.matrices(parameters.values),
                parameters.matrices(parameters.gradient),
                parameters.matrices(self.state["momentum"]),
                strict=True,
            )
        )
        self._iterations = recipe.muon_iterations
        self._largest = max((value.numel() for value, _, _ in self._matrices), default=0)

    @property
    def _start(self) -> int:
        return self.parameters.num_decayed

    def _scratch(self) -> Tensor:
        self.parameters.values.new_empty(ORTHOGONALIZING * self._largest)  # there is so much
        return super()._scratch()

    def _update(self, lr: float, number: int, scratch: Tensor) -> None:
        for value, gradient, momentum in self._matrices:
            momentum.lerp_(gradient, 1 - self.momentum)
            direction = orthogonalize(gradient.lerp(momentum, self.momentum), self._iterations)
            rows, columns = value.shape
            value.add_(direction, alpha=-lr * math.sqrt(max(1.0, rows / columns)))
        for piece in self._pieces:
            _update_by_adam(self, piece, MUON_VECTOR_LR * lr, number, scratch)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": Adam, "muon": Muon}


def make_optimizer(parameters: FlatParameters, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer for the parameters."""
    return OPTIMIZERS[recipe.optimizer](parameters, recipe)


def orthogonalize(matrix: Tensor, iterations: int) -> Tensor:
    """Return a matrix with the same singular vectors and singular values near 1.

    Args:
        matrix: (rows, columns).
        iterations: Of the quintic Newton-Schulz iteration with the coefficients of Jordan et al.
            2024, which trade exactness for a steep start.

    On a CPU small products are faster in fp32: converting costs more than it saves.
    """
    small = matrix.device.type == "cpu" and min(matrix.shape) < SMALL_SIDE
    x = matrix.float() if small else matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.t() if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.t()
        polynomial = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, polynomial, x, beta=3.4445)
    return (x.t() if tall else x).to(matrix.dtype)


def _update_by_adam(
    optimizer: Optimizer, piece: Piece, lr: float, number: int, scratch: Tensor
) -> None:
    """Update a piece of the vector as Adam does."""
    assert piece.squares is not None
    beta1, beta2 = optimizer.momentum, optimizer.beta2
    piece.momentum.lerp_(piece.gradient, 1 - beta1)
    piece.squares.mul_(beta2).addcmul_(piece.gradient, piece.gradient, value=1 - beta2)
    root = torch.div(piece.squares, 1 - beta2**number, out=piece.room_in(scratch))
    root.sqrt_().add_(EPSILON)
    piece.values.addcdiv_(piece.momentum, root, value=-lr / (1 - beta1**number))
