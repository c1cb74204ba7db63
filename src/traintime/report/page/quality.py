"""How good the trained model is: metrics, classes, confusions and mistakes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from traintime.report.page.headline import digits_of_share
from traintime.report.page.run_files import Record, RunFiles, listed
from traintime.units import format_percent

MOST_CLASSES_IN_MATRIX = 30
MOST_MISTAKES = 24


@dataclass(frozen=True)
class Card:
    """One metric: its name, value and what stands behind it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix.

    Args:
        count: Samples of the row's class that were taken for the column's.
        truth: Name of the row's class.
        predicted: Name of the column's class.
        strength: 0 to 1; how strongly the cell is coloured.
    """

    count: int
    truth: str
    predicted: str
    strength: float

    @property
    def is_right(self) -> bool:
        """Whether the cell is on the diagonal."""
        return self.truth == self.predicted


@dataclass(frozen=True)
class Quality:
    """The sections on the quality of the model; None or empty where nothing was recorded.

    Mistakes are pictures (`wrong`) or rows of a table (`wrong_rows`) with some of its columns.
    """

    cards: tuple[Card, ...]
    per_class: tuple[Record, ...]
    weakest: str
    classes: tuple[str, ...]
    matrix: tuple[tuple[Cell, ...], ...]
    mix_ups: tuple[Cell, ...]
    wrong: tuple[Record, ...]
    wrong_rows: tuple[Record, ...]
    wrong_columns: tuple[str, ...]
    errors: int


def quality(run: RunFiles) -> Quality | None:
    """Return what the test showed, or None if the run was not evaluated."""
    test: Record | None = run.result.get("test")
    if not test:
        return None
    per_class = tuple(listed(test, "per_class"))
    counts: list[list[int]] = listed(test, "confusion")
    classes = _class_names(per_class, len(counts))
    cells = _cells(counts, classes)
    wrong_cells = [cell for row in cells for cell in row if not cell.is_right and cell.count]
    wrong: list[Record] = listed(run.result, "wrong")[:MOST_MISTAKES]
    rows = tuple(sample for sample in wrong if "cells" in sample)
    return Quality(
        cards=_cards(test),
        per_class=per_class,
        weakest=_weakest(per_class),
        classes=classes,
        matrix=cells if len(classes) <= MOST_CLASSES_IN_MATRIX else (),
        mix_ups=tuple(sorted(wrong_cells, key=lambda cell: -cell.count)[:5]),
        wrong=tuple(sample for sample in wrong if "png" in sample),
        wrong_rows=rows,
        wrong_columns=tuple(rows[0]["cells"]) if rows else (),
        errors=sum(cell.count for cell in wrong_cells),
    )


def wilson(share: float, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was counted on so many samples.

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z2 = 1.96**2
    centre = share + z2 / (2 * samples)
    margin = 1.96 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    return (centre - margin) / (1 + z2 / samples), (centre + margin) / (1 + z2 / samples)


def _cards(test: Record) -> tuple[Card, ...]:
    samples = int(test.get("samples") or 0)
    digits = digits_of_share(samples)
    names = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1"}
    cards = [
        Card(name, format_percent(test[key], digits), _note(key, test[key], samples, digits))
        for key, name in names.items()
        if test.get(key) is not None
    ]
    if test.get("loss") is not None:
        cards.append(Card("Loss", f"{test['loss']:.3g}", "cross-entropy per sample"))
    return tuple(cards)


def _note(key: str, share: float, samples: int, digits: int) -> str:
    if key != "accuracy" or not samples:
        return "mean over the classes"
    low, high = (f"{bound * 100:.{digits}f}" for bound in wilson(share, samples))
    return f"{low} – {high} % with 95 % confidence"


def _weakest(per_class: tuple[Record, ...]) -> str:
    known = [row for row in per_class if row.get("f1") is not None]
    if len(known) < 2:
        return ""
    worst, best = min(known, key=lambda row: row["f1"]), max(known, key=lambda row: row["f1"])
    return (
        f"Best at “{best['class']}” (F1 {format_percent(best['f1'])}), "
        f"weakest at “{worst['class']}” ({format_percent(worst['f1'])})."
    )


def _class_names(per_class: tuple[Record, ...], num_classes: int) -> tuple[str, ...]:
    if len(per_class) == num_classes:
        return tuple(str(row["class"]) for row in per_class)
    return tuple(str(index) for index in range(num_classes))


def _cells(counts: list[list[int]], classes: tuple[str, ...]) -> tuple[tuple[Cell, ...], ...]:
    """Return the matrix; mistakes are coloured on a logarithmic scale, so that few show too."""
    mistakes = [n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j]
    most = math.log1p(max(mistakes, default=0)) or 1.0
    return tuple(
        tuple(
            Cell(n, truth, predicted, round(_strength(n, sum(row), i == j, most), 3))
            for j, (predicted, n) in enumerate(zip(classes, row, strict=True))
        )
        for i, (truth, row) in enumerate(zip(classes, counts, strict=True))
    )


def _strength(count: int, of_class: int, is_right: bool, most: float) -> float:
    if is_right:
        return count / of_class if of_class else 0.0
    return math.log1p(count) / most
