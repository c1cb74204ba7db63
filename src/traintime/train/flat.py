"""All parameters of a module in one vector, and all gradients in another.

A small network's optimizer step is dispatch, not arithmetic: a dozen operations for each of dozens
of tensors. On one vector it is a dozen operations. Clipping, penalties, averages and checkpoints
become one-liners for the same reason.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatParameters:
    """The parameters of a module as views into one vector.

    Matrices and kernels (two or more dimensions) stand first, so what decays is a prefix.

    Args:
        module: Its parameters become views into `values`, their gradients views into `gradient`.
        channels_last: Keep four-dimensional weights in channels_last order.

    Attributes:
        values: (P,) all parameters.
        gradient: (P,) all gradients.
        num_decayed: Length of the prefix that weight decay and penalties act on.
        is_channels_last: Whether four-dimensional weights are in channels_last order.
    """

    def __init__(self, module: nn.Module, *, channels_last: bool) -> None:
        parameters = sorted(module.parameters(), key=lambda parameter: parameter.ndim < 2)
        count = sum(parameter.numel() for parameter in parameters)
        self.values = torch.empty(count, device=parameters[0].device)
        self.gradient = torch.zeros_like(self.values)
        self.is_channels_last = channels_last
        self.num_decayed = sum(p.numel() for p in parameters if p.ndim >= 2)
        self._shapes: list[tuple[int, torch.Size, bool]] = []
        offset = 0
        for parameter in parameters:
            nhwc = channels_last and parameter.ndim == 4
            self._shapes.append((offset, parameter.shape, nhwc))
            view = _view(self.values, *self._shapes[-1])
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = _view(self.gradient, *self._shapes[-1])
            offset += parameter.numel()

    def matrices(self, vector: Tensor) -> list[Tensor]:
        """Return the views (rows, columns) into a vector (P,) of all weights with 2+ dimensions.

        A kernel (O, C, k, k) is a matrix with one row per output channel; the order of its columns
        follows the memory format and does not matter to what is done with it.
        """
        return [
            vector[offset : offset + shape.numel()].view(shape[0], -1)
            for offset, shape, _ in self._shapes
            if len(shape) >= 2
        ]


def _view(vector: Tensor, offset: int, shape: torch.Size, nhwc: bool) -> Tensor:
    part = vector[offset : offset + shape.numel()]
    if not nhwc:
        return part.view(shape)
    outputs, inputs, height, width = shape
    return part.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
