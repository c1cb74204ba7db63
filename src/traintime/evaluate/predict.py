"""Running a model over held-out samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traintime.hardware.execution import Execution


@dataclass(frozen=True)
class Predictions:
    """What a model says about a set of samples, on the CPU.

    Args:
        labels: (N,) true classes.
        predicted: (N,) most likely classes.
        confidence: (N,) probability that the model gives to its choice.
        loss: Mean cross-entropy.
        loss_deviation: Standard deviation of the cross-entropy of one sample.
        num_classes: Scores per sample.
    """

    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    loss: float
    loss_deviation: float
    num_classes: int

    @property
    def accuracy(self) -> float:
        """Share of samples that are right."""
        return float((self.labels == self.predicted).double().mean())

    def confusion(self) -> list[list[int]]:
        """Return counts (classes, classes); rows are the truth."""
        pairs = self.labels * self.num_classes + self.predicted
        counts = torch.bincount(pairs, minlength=self.num_classes**2)
        return counts.view(self.num_classes, self.num_classes).tolist()

    def worst(self, count: int) -> list[int]:
        """Return the indices of the wrong predictions that the model is surest of."""
        wrong = (self.labels != self.predicted).nonzero().flatten()
        order = self.confidence[wrong].argsort(descending=True)
        return wrong[order[:count]].tolist()


@torch.no_grad()
def predict(
    module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], execution: Execution
) -> Predictions:
    """Return a model's predictions.

    Args:
        module: Maps (B, C, H, W) to (B, classes); left in evaluation mode.
        batches: Images and labels, in order.
        execution: Gives the device and the precision.
    """
    module.eval()
    device_type = torch.device(execution.device).type
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    num_classes = 0
    for images, labels in batches:
        with torch.autocast(device_type, torch.bfloat16, enabled=execution.precision == "bf16"):
            scores = module(images)
        scores = scores.float()
        num_classes = scores.shape[1]
        best = scores.max(1)
        confidence = (best.values - scores.logsumexp(1)).exp()
        each = F.cross_entropy(scores, labels, reduction="none")
        losses = torch.stack([each.sum(), each.square().sum()])
        parts.append((labels, best.indices, confidence, losses))
    labels, predicted, confidence, losses = zip(*parts, strict=True)
    all_labels = torch.cat(labels).cpu()
    mean, mean_square = (torch.stack(losses).sum(0) / len(all_labels)).tolist()
    return Predictions(
        labels=all_labels,
        predicted=torch.cat(predicted).cpu(),
        confidence=torch.cat(confidence).cpu(),
        loss=mean,
        loss_deviation=math.sqrt(max(0.0, mean_square - mean * mean)),
        num_classes=num_classes,
    )
