"""What the step timings share: the two chunks of steps that each of them compares.

A probe is one process with one contender in it. For each network and batch size it times the plain
tensor-slicing loop, then its contender, on the same data with the same optimizer and threads, so
that whatever else the machine does meanwhile slows both.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from contender import default_data_folder
from torch import nn
from torch_networks import best_device, network, standardized

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Chunk:
    """So many steps of one training.

    Args:
        model: "lenet" or "mlp".
        batch_size: Samples per step.
        num_steps: Steps that are timed.
        num_warmup_steps: Steps before them, which allocate and compile.
        images: Float images (N, C, H, W).
        labels: (N,).
    """

    model: str
    batch_size: int
    num_steps: int
    num_warmup_steps: int
    images: torch.Tensor
    labels: torch.Tensor

    @property
    def total_steps(self) -> int:
        """Steps with the warm-up."""
        return self.num_warmup_steps + self.num_steps

    @property
    def num_epochs(self) -> int:
        """Epochs that hold all steps."""
        return -(-self.total_steps // (len(self.images) // self.batch_size))


class Stopwatch:
    """Mean time per step after the warm-up, logging and checkpoints between the steps included.

    Args:
        chunk: How many steps to expect.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.chunk, self.num_steps_seen = chunk, 0
        self.began_s = self.ended_s = 0.0

    def step_ended(self) -> bool:
        """Count a step and say whether it was the last."""
        self.num_steps_seen += 1
        if self.num_steps_seen == self.chunk.num_warmup_steps:
            self.began_s = _now()
        if self.num_steps_seen == self.chunk.total_steps:
            self.ended_s = _now()
        return self.num_steps_seen >= self.chunk.total_steps

    @property
    def step_s(self) -> float:
        """Mean seconds per timed step."""
        assert self.ended_s > self.began_s > 0, "the chunk was not trained to its end"
        return (self.ended_s - self.began_s) / self.chunk.num_steps


StepTime = Callable[[Chunk], float]


def plain_slicing(chunk: Chunk) -> float:
    """Return the seconds per step of a loop over slices of a permutation: the reference."""
    device = best_device()
    images, labels = chunk.images.to(device), chunk.labels.to(device)
    model, optimizer = model_and_optimizer(chunk, device)
    stopwatch = Stopwatch(chunk)
    while True:
        order = torch.randperm(len(images), device=device)
        for first in range(0, len(order) - chunk.batch_size + 1, chunk.batch_size):
            batch = order[first : first + chunk.batch_size]
            train_step(model, optimizer, images[batch], labels[batch])
            if stopwatch.step_ended():
                return stopwatch.step_s


def model_and_optimizer(
    chunk: Chunk, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return what the chunk trains, from the same seed each time."""
    torch.manual_seed(0)
    model = network(chunk.model, tuple(chunk.images.shape[1:])).to(device)
    return model, torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> None:
    """Make one optimizer step on a batch of images (B, C, H, W) and labels (B,)."""
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def probe(contender: StepTime) -> None:
    """Time reference and contender as the command line asks, and print one line of JSON."""
    parser = argparse.ArgumentParser(description="Time training steps.")
    parser.add_argument("--data-folder", type=Path, default=default_data_folder())
    parser.add_argument("--work", default="mlp:64", help="e.g. mlp:64,lenet:256")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--warmup-steps", type=int, default=50)
    given = parser.parse_args()
    folder = given.data_folder / "fashion-mnist"
    images = standardized(np.load(folder / "train_images.npy"))
    labels = torch.from_numpy(np.load(folder / "train_labels.npy").astype(np.int64))
    times = {}
    for work in given.work.split(","):
        model, batch_size = work.split(":")
        chunk = Chunk(model, int(batch_size), given.steps, given.warmup_steps, images, labels)
        times[work] = {"reference_s": plain_slicing(chunk), "step_s": contender(chunk)}
    outcome = {"threads": torch.get_num_threads(), "device": str(best_device()), "times": times}
    print("\n" + json.dumps(outcome), flush=True)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    probe(plain_slicing)
