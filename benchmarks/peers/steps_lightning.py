"""Step time of Lightning with its defaults: logger, progress bar, checkpoint after each epoch."""

from __future__ import annotations

import lightning
import torch
from steps import LEARNING_RATE, Chunk, Stopwatch, probe
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_networks import network


class Classifier(lightning.LightningModule):
    """The chunk's network as Lightning trains it.

    Args:
        chunk: What to train.
        stopwatch: Counts its steps.
    """

    def __init__(self, chunk: Chunk, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.stopwatch = stopwatch
        self.network = network(chunk.model, tuple(chunk.images.shape[1:]))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer that all contenders use."""
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

    def on_train_batch_end(self, *_: object) -> None:
        """Count the step."""
        self.stopwatch.step_ended()


def step_time(chunk: Chunk) -> float:
    """Return the seconds per step."""
    lightning.seed_everything(0)
    samples = TensorDataset(chunk.images, chunk.labels)
    loader = DataLoader(samples, batch_size=chunk.batch_size, shuffle=True, drop_last=True)
    stopwatch = Stopwatch(chunk)
    trainer = lightning.Trainer(max_epochs=chunk.num_epochs, max_steps=chunk.total_steps)
    trainer.fit(Classifier(chunk, stopwatch), loader)
    return stopwatch.step_s


if __name__ == "__main__":
    probe(step_time)
