"""Optimizers on flat parameters.

`torch.optim` gives the same results (the tests hold these against it). Ours exist because the
constructor of any torch optimizer imports the compiler front end, about a second, and because one
vector needs a tenth of the calls of many small tensors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from traintime.recipe import Recipe
from traintime.train.flat import FlatParameters

EPSILON = 1e-8
MUON_VECTOR_LR = 0.2
SMALL_SIDE = 256


class Optimizer(ABC):
    """Turns gradients into better parameters.

    Args:
        parameters: What is optimised.
        recipe: Gives momentum, beta2 and weight decay.
    """

    def __init__(self, parameters: FlatParameters, recipe: Recipe) -> None:
        self.parameters = parameters
        self.momentum = recipe.momentum
        self.beta2 = recipe.beta2
        self.weight_decay = recipe.weight_decay
        self.state: dict[str, Tensor] = {
            name: torch.zeros_like(parameters.values) for name in self.slots
        }

    slots: tuple[str, ...] = ()
    """Names of the vectors that are remembered between steps; a checkpoint holds them."""

    def step(self, lr: float, number: int) -> None:
        """Update the parameters.

        Args:
            lr: Learning rate of this step.
            number: Steps taken so far, this one included, so from 1.
        """
        if self.weight_decay:
            self.parameters.values[: self.parameters.num_decayed].mul_(1 - lr * self.weight_decay)
        self._update(lr, number)

    @abstractmethod
    def _update(self, lr: float, number: int) -> None: ...


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov momentum, as in Sutskever et al. 2013."""

    slots = ("momentum",)

    def _update(self, lr: float, number: int) -> None:
        gradient, velocity = self.parameters.gradient, self.state["momentum"]
        velocity.mul_(self.momentum).add_(gradient)
        self.parameters.values.add_(gradient.add(velocity, alpha=self.momentum), alpha=-lr)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014); with decoupled weight decay AdamW (Loshchilov & Hutter 2017)."""

    slots = ("momentum", "squares")

    def _update(self, lr: float, number: int) -> None:
        values, gradient = self.parameters.values, self.parameters.gradient
        _adam(values, gradient, self.state, slice(None), lr, number, self.momentum, self.beta2)


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
        self._vectors = slice(parameters.num_decayed, None)

    def _update(self, lr: float, number: int) -> None:
        for value, gradient, momentum in self._matrices:
            momentum.lerp_(gradient, 1 - self.momentum)
            direction = orthogonalize(gradient.lerp(momentum, self.momentum), self._iterations)
            rows, columns = value.shape
            value.add_(direction, alpha=-lr * math.sqrt(max(1.0, rows / columns)))
        values, gradient = self.parameters.values, self.parameters.gradient
        vector_lr = MUON_VECTOR_LR * lr
        _adam(
            values,
            gradient,
            self.state,
            self._vectors,
            vector_lr,
            number,
            self.momentum,
            self.beta2,
        )


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


def _adam(
    values: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    part: slice,
    lr: float,
    number: int,
    beta1: float,
    beta2: float,
) -> None:
    gradient = gradient[part]
    momentum, squares = state["momentum"][part], state["squares"][part]
    momentum.lerp_(gradient, 1 - beta1)
    squares.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (squares / (1 - beta2**number)).sqrt_().add_(EPSILON)
    values[part].addcdiv_(momentum, root, value=-lr / (1 - beta1**number))
