"""Classification metrics from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognised."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Classification:
    """How well a classifier does on a set of samples.

    Args:
        accuracy: Share of samples that are right.
        loss: Mean cross-entropy.
        precision: Mean over the classes, each counting the same (macro average).
        recall: Likewise.
        f1: Likewise.
        samples: How many were judged.
        per_class: Scores of each class.
        confusion: Counts; rows are the truth, columns what was predicted.
    """

    accuracy: float
    loss: float
    precision: float
    recall: float
    f1: float
    samples: int
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


def classify(
    confusion: Sequence[Sequence[int]], loss: float, class_names: Sequence[str]
) -> Classification:
    """Return all scores that follow from a confusion matrix.

    A class that is never predicted has precision 0, one that never occurs recall 0, as in
    scikit-learn's `zero_division=0`.

    Args:
        confusion: (classes, classes) counts; rows are the truth.
        loss: Mean loss, reported as it is.
        class_names: One per class.
    """
    count = len(confusion)
    samples = sum(map(sum, confusion))
    scores: list[ClassScore] = []
    for index, name in enumerate(class_names):
        hits = confusion[index][index]
        support = sum(confusion[index])
        predicted = sum(row[index] for row in confusion)
        precision, recall = _share(hits, predicted), _share(hits, support)
        f1 = _share(2 * hits, support + predicted)
        scores.append(ClassScore(name, precision, recall, f1, support))
    return Classification(
        accuracy=_share(sum(confusion[i][i] for i in range(count)), samples),
        loss=loss,
        precision=sum(score.precision for score in scores) / count,
        recall=sum(score.recall for score in scores) / count,
        f1=sum(score.f1 for score in scores) / count,
        samples=samples,
        per_class=tuple(scores),
        confusion=tuple(tuple(row) for row in confusion),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
