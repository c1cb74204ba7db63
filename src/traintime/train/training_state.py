"""All that changes while a run goes: weights, averages, optimizer, buffers, random states."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from traintime.data.shuffled import ShuffledBatches
from traintime.train.checkpoints import Checkpoint
from traintime.train.flat import FlatParameters
from traintime.train.progress import Progress
from traintime.train.stepper import Stepper


class TrainingState:
    """The state of a run, as a checkpoint holds it.

    Args:
        module: The network, freshly drawn.
        batches: Have a random state of their own.
        stepper: Holds parameters, their average and the optimizer.
        keeps_best: Whether the best weights so far are kept, for early stopping.

    Attributes:
        progress: What is no tensor.
        best: What was judged best so far; None if that is not kept.
    """

    def __init__(
        self, module: nn.Module, batches: ShuffledBatches, stepper: Stepper, *, keeps_best: bool
    ) -> None:
        self.progress = Progress()
        self._module, self._batches, self._stepper = module, batches, stepper
        self._device = stepper.parameters.values.device
        self.best = self._copy_of_judged() if keeps_best else None

    # What is judged

    def judged(self) -> dict[str, Tensor]:
        """Return what a validation judges: weights or their average, and running statistics."""
        average = self._stepper.average
        values = self._stepper.parameters.values if average is None else average
        return {"values": values, **dict(self._module.named_buffers())}

    def _copy_of_judged(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.judged().items()}

    def keep_as_best(self) -> None:
        """Keep what was just judged as the best so far, where that is done."""
        if self.best is not None:
            for name, tensor in self.judged().items():
                self.best[name].copy_(tensor)

    def put(self, judged: Mapping[str, Tensor]) -> None:
        """Put what was judged in place, for good."""
        self._stepper.parameters.values.copy_(judged["values"])
        for name, buffer in self._module.named_buffers():
            buffer.copy_(judged[name])

    @contextmanager
    def averaged(self) -> Generator[None]:
        """Put the averaged weights in place for a while, if there are any."""
        average, values = self._stepper.average, self._stepper.parameters.values
        if average is None:
            yield
            return
        current = values.clone()
        values.copy_(average)
        try:
            yield
        finally:
            values.copy_(current)

    # What is saved

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that a step changes, by its name in a checkpoint."""
        stepper = self._stepper
        tensors = {"parameters": stepper.parameters.values}
        tensors |= {f"optimizer.{name}": slot for name, slot in stepper.optimizer.state.items()}
        tensors |= {f"buffer.{name}": buffer for name, buffer in self._module.named_buffers()}
        if stepper.average is not None:
            tensors["average"] = stepper.average
        if self.best is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        return tensors

    def broken_part(self) -> str:
        """Return what holds a number that is not finite, in words; nothing if all is well.

        One sum a tensor tells, at the speed of memory.
        """
        floating = {k: t for k, t in self.tensors().items() if t.is_floating_point()}
        sums = torch.stack([tensor.sum().float() for tensor in floating.values()])
        for name, is_finite in zip(floating, sums.isfinite().tolist(), strict=True):
            if not is_finite:
                kind = name.partition(".")[0]
                return NAMES.get(kind, f"the {kind}")
        return ""

    def checkpoint(self) -> Checkpoint:
        """Return the state as it is; its tensors are those that training goes on with."""
        tensors = self.tensors()
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        tensors["random.augmentation"] = self._batches.state()
        return Checkpoint(tensors, self.progress.to_json())

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Say whether a checkpoint is of such a network, trained in such a way."""
        tensors, ours = checkpoint.tensors, self.tensors()
        return all(name in tensors and tensors[name].shape == ours[name].shape for name in ours)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over the state of a checkpoint that fits."""
        tensors = checkpoint.tensors
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self._device)
        self._batches.set_state(tensors["random.augmentation"])
        self.progress = Progress.from_json(dict(checkpoint.state))

    def begin_again(self, fresh: nn.Module) -> None:
        """Go back to the beginning.

        Args:
            fresh: The network as it was drawn at first; random states are as they were then.
        """
        layout = self._stepper.parameters.is_channels_last
        first = FlatParameters(fresh, channels_last=layout).values
        self._stepper.parameters.values.copy_(first)
        for slot in self._stepper.optimizer.state.values():
            slot.zero_()
        if self._stepper.average is not None:
            self._stepper.average.copy_(first)
        buffers = dict(fresh.named_buffers())
        for name, buffer in self._module.named_buffers():
            buffer.copy_(buffers[name])
        self._batches.begin_again()
        self.keep_as_best()
        self.progress = Progress()


NAMES = {
    "parameters": "a weight",
    "optimizer": "the optimizer's state",
    "buffer": "a running statistic",
    "average": "the averaged weights",
    "best": "a weight of the best model",
}
