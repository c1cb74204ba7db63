"""The training and test loops of PyTorch's tutorials, shared by the two PyTorch contenders.

References:
    Loops: `train` and `test` of PyTorch's Quickstart, https://pytorch.org/tutorials, without their
    printing. Quickstart: batch 64, SGD at 1e-3, no shuffling, which does not come near 90 % within
    15 epochs. "Training with PyTorch" trains this very network ("GarmentClassifier") with batch 4,
    SGD at 1e-3, momentum 0.9: 15,000 steps an epoch.
    Here, stronger than both: batch 64, Adam at 1e-3, shuffled.
"""

from __future__ import annotations

import torch
from contender import Race
from torch import nn
from torch.utils.data import DataLoader
from torch_networks import best_device, network

BATCH_SIZE = 64
LEARNING_RATE = 1e-3


def run(race: Race, train_loader: DataLoader, test_loader: DataLoader) -> None:
    """Train to the target and print the outcome.

    Args:
        race: What to reach.
        train_loader: Gives float images (B, C, H, W) and labels (B,), shuffled.
        test_loader: The same of the test set.
    """
    device = best_device()
    model = network(race.model).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    race.training_begins()
    while True:
        _train_epoch(model, optimizer, train_loader, device)
        if race.epoch_ended(_test_accuracy(model, test_loader, device)):
            break
    race.report()


def _train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader, device: torch.device
) -> None:
    loss_function = nn.CrossEntropyLoss()
    model.train()
    for images, labels in loader:
        loss = loss_function(model(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _test_accuracy(model: nn.Module, loader: DataLoader, device: torch.device) -> float:
    model.eval()
    num_correct = 0.0
    with torch.no_grad():
        for images, labels in loader:
            predicted = model(images.to(device)).argmax(1)
            num_correct += (predicted == labels.to(device)).float().sum().item()
    return num_correct / len(loader.dataset)
