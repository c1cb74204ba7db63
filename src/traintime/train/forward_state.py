"""What a forward pass changes beside gradients: running statistics and random states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from traintime.data.shuffled import ShuffledBatches


class ForwardState:
    """Remembers it, so that a step that is taken again, or not at all, leaves nothing behind.

    Args:
        module: Its buffers are the running statistics; on the CPU.
        batches: Have a random state of their own.
        draws: Whether anything is random in a step; else no state is kept of that.
    """

    def __init__(self, module: nn.Module, batches: ShuffledBatches, *, draws: bool) -> None:
        self._batches, self._draws = batches, draws
        self._buffers = tuple(module.buffers())
        self._before = tuple(buffer.clone() for buffer in self._buffers)
        self._random: tuple[Tensor, Tensor] = (torch.get_rng_state(), batches.state())

    def remember(self) -> None:
        """Remember it as it is now."""
        for copy, buffer in zip(self._before, self._buffers, strict=True):
            copy.copy_(buffer)
        if self._draws:
            self._random = (torch.get_rng_state(), self._batches.state())

    def put_back(self) -> None:
        """Put all of it back, so that the same step can be taken again."""
        self.put_back_statistics()
        if not self._draws:
            return
        of_all, of_batches = self._random
        torch.set_rng_state(of_all)
        self._batches.set_state(of_batches)

    def put_back_statistics(self) -> None:
        """Put running statistics back; random numbers that were used are not used again."""
        with torch.no_grad():
            for buffer, copy in zip(self._buffers, self._before, strict=True):
                buffer.copy_(copy)
