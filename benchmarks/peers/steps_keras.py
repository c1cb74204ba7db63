"""Step time of Keras on PyTorch: compile and fit with their defaults."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import keras_recipe
from steps import Chunk, Stopwatch, probe


class Count(keras.callbacks.Callback):
    """Count the steps and stop after the last.

    Args:
        stopwatch: Counts them.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.stopwatch = stopwatch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Count the step."""
        self.stopwatch.step_ended()


def step_time(chunk: Chunk) -> float:
    """Return the seconds per step."""
    keras.utils.set_random_seed(0)
    num_samples = min(len(chunk.images), chunk.total_steps * chunk.batch_size)
    num_samples -= num_samples % chunk.batch_size
    images = chunk.images[:num_samples].permute(0, 2, 3, 1).contiguous().numpy()
    stopwatch = Stopwatch(chunk)
    keras_recipe.compiled(chunk.model, images.shape[1:]).fit(
        images,
        chunk.labels[:num_samples].numpy(),
        batch_size=chunk.batch_size,
        epochs=chunk.num_epochs,
        callbacks=[Count(stopwatch)],
    )
    return stopwatch.step_s


if __name__ == "__main__":
    probe(step_time)
