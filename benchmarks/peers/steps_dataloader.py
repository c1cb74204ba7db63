"""Step time of plain PyTorch with a TensorDataset in a DataLoader."""

from __future__ import annotations

from steps import Chunk, Stopwatch, model_and_optimizer, probe, train_step
from torch.utils.data import DataLoader, TensorDataset
from torch_networks import best_device


def step_time(chunk: Chunk) -> float:
    """Return the seconds per step."""
    device = best_device()
    model, optimizer = model_and_optimizer(chunk, device)
    samples = TensorDataset(chunk.images, chunk.labels)
    loader = DataLoader(samples, batch_size=chunk.batch_size, shuffle=True, drop_last=True)
    stopwatch = Stopwatch(chunk)
    while True:
        for images, labels in loader:
            train_step(model, optimizer, images.to(device), labels.to(device))
            if stopwatch.step_ended():
                return stopwatch.step_s


if __name__ == "__main__":
    probe(step_time)
