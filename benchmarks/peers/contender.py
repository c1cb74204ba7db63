"""What every contender shares: its arguments, its images, and the one line it prints.

A contender is a script of its own, started afresh for each run, because people wait for imports
too. It trains, evaluates on the test set after each epoch, and stops at the target.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()  # before the heavy imports, which count

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from itertools import pairwise  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

NUM_CLASSES = 10


@dataclass
class Race:
    """One run to a target accuracy.

    Args:
        data_folder: Folder of one data set's arrays.
        model: "lenet" or "mlp".
        target: Test accuracy to reach, 0 to 1.
        seed: Seed of weights and shuffling.
        max_epochs: Epochs after which the contender gives up.
    """

    data_folder: Path
    model: str
    target: float
    seed: int
    max_epochs: int
    accuracies: list[float] = field(default_factory=list)
    epoch_ends: list[float] = field(default_factory=list)

    def images(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 images (N, H, W, C) and int64 labels (N,) of "train" or "test"."""
        images = np.load(self.data_folder / f"{part}_images.npy")
        labels = np.load(self.data_folder / f"{part}_labels.npy")
        return images, labels.astype(np.int64)

    def training_begins(self) -> None:
        """Take the time from which the first epoch counts."""
        self.epoch_ends = [time.perf_counter()]

    def epoch_ended(self, accuracy: float) -> bool:
        """Note an epoch's test accuracy and say whether the race is over."""
        # A float32 accuracy of 0.9 is 0.89999998 as a Python number: count images, not bits.
        self.accuracies.append(round(float(accuracy), 6))
        self.epoch_ends.append(time.perf_counter())
        return self.reached or len(self.accuracies) >= self.max_epochs

    @property
    def reached(self) -> bool:
        """Say whether the last epoch was good enough."""
        return bool(self.accuracies) and self.accuracies[-1] >= self.target

    def report(self) -> None:
        """Print the outcome as one line of JSON, on a line of its own."""
        ends = self.epoch_ends
        outcome = {
            "reached": self.reached,
            "epochs": len(self.accuracies),
            "accuracy": self.accuracies[-1],
            "accuracies": self.accuracies,
            "seconds_in_process": time.perf_counter() - STARTED,
            "epoch_seconds": [end - begin for begin, end in pairwise(ends)],
        }
        # A progress bar may have left its line open.
        print("\n" + json.dumps(outcome), flush=True)


def race_from_arguments() -> Race:
    """Read the race from the command line."""
    parser = argparse.ArgumentParser(description="Train to a target accuracy.")
    parser.add_argument("--data", default="fashion-mnist", help="name of the data set")
    parser.add_argument("--data-folder", type=Path, default=default_data_folder())
    parser.add_argument("--model", choices=("lenet", "mlp"), default="lenet")
    parser.add_argument("--target", type=float, default=0.9, help="test accuracy, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, default=15)
    given = parser.parse_args()
    folder = given.data_folder / given.data
    if not (folder / "train_images.npy").exists():
        parser.error(f"no {given.data} in {folder}; `traintime train data={given.data}` gets it")
    return Race(folder, given.model, given.target, given.seed, given.max_epochs)


def default_data_folder() -> Path:
    """Return where traintime caches data sets; the harness passes it, people need not."""
    if home := os.environ.get("TRAINTIME_HOME"):
        return Path(home) / "cache" / "data"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "traintime" / "data"
