"""Keras as its examples have it: a Sequential model, compile, fit.

From "Simple MNIST convnet" (https://keras.io/examples/vision/mnist_convnet): pixels between 0 and
1, batch 128, Adam with its defaults, and `fit` with its own (progress bar, shuffling). Made
stronger: labels stay integers, nothing is held out for validation, and the loss takes logits.

`keras_torch.py`, `keras_jax.py` and `keras_tensorflow.py` choose the backend before this module is
imported, since Keras reads KERAS_BACKEND once.
"""

from __future__ import annotations

import contender
import keras
import numpy as np
from contender import NUM_CLASSES, Race
from keras import layers

BATCH_SIZE = 128


def network(model: str, image_shape: tuple[int, int, int]) -> keras.Sequential:
    """Return "lenet" or "mlp" for images of a shape (H, W, C), with Keras' own initial weights."""
    if model == "mlp":
        body = [layers.Flatten(), layers.Dense(128, activation="relu")]
    else:
        margin = "same" if image_shape[0] < 32 else "valid"  # LeNet-5 was made for 32×32
        body = [
            *(layers.Conv2D(6, 5, padding=margin, activation="relu"), layers.MaxPooling2D(2)),
            *(layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(2)),
            layers.Flatten(),
            *(layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu")),
        ]
    return keras.Sequential([keras.Input(image_shape), *body, layers.Dense(NUM_CLASSES)])


def compiled(model: str, image_shape: tuple[int, int, int]) -> keras.Sequential:
    """Return the network with the example's optimizer, loss and metric."""
    built = network(model, image_shape)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return built


def scaled(images: np.ndarray) -> np.ndarray:
    """Return uint8 images as float images between 0 and 1, in the same order of axes."""
    return images.astype("float32") / 255


class Finish(keras.callbacks.Callback):
    """Stop where the race is over.

    Args:
        race: What to reach.
    """

    def __init__(self, race: Race) -> None:
        super().__init__()
        self.race = race

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Start the first epoch's clock."""
        self.race.training_begins()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Note the epoch's accuracy on the test set."""
        assert logs is not None
        self.model.stop_training = self.race.epoch_ended(logs["val_accuracy"])


def main() -> None:
    """Run the race that the command line asks for."""
    race = contender.race_from_arguments()
    keras.utils.set_random_seed(race.seed)
    (train_images, train_labels), (test_images, test_labels) = map(race.images, ("train", "test"))
    compiled(race.model, train_images.shape[1:]).fit(
        scaled(train_images),
        train_labels,
        batch_size=BATCH_SIZE,
        epochs=race.max_epochs,
        validation_data=(scaled(test_images), test_labels),
        callbacks=[Finish(race)],
    )
    race.report()
