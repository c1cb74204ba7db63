"""What a clock watches of a run's validations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from traintime.recipe import Recipe
from traintime.recipe.recipe import Metric
from traintime.train.schedules import learning_rate


@dataclass(frozen=True)
class Guess:
    """What a model is right in that has learned nothing.

    Args:
        accuracy: Of always telling the most frequent class, above 0 and below 1.
        samples: Of a validation.
    """

    accuracy: float
    samples: int

    @classmethod
    def by(cls, counts: Sequence[int]) -> Guess | None:
        """Return it for so many samples of each class; None where there are not two of them."""
        largest, every = max(counts, default=0), sum(counts)
        return cls(largest / every, every) if 0 < largest < every else None


@dataclass(frozen=True)
class Watched:
    """What is watched of a run's validations.

    Args:
        metric: "accuracy" or "loss".
        target: Value to reach, if there is one.
        patience: Validations without improvement after which the run ends; 0 for no end.
        rate: Learning rate over its peak at a share of the schedule; None if not known.
        is_ours: Whether traintime trains, and not a loop of the user's own.
        guess: What guessing gives; None if it is not known.
    """

    metric: Metric
    target: float | None = None
    patience: int = 0
    rate: Callable[[float], float] | None = None
    is_ours: bool = False
    guess: Guess | None = None

    @classmethod
    def by(
        cls, recipe: Recipe, metric: Metric, margin: float = 0.0, guess: Guess | None = None
    ) -> Watched:
        """Return what a recipe watches of a metric, which has to pass its target by a margin."""
        per_epoch = 1_000  # steps, of which a schedule needs enough to be smooth
        return cls(
            metric,
            recipe.goal.beyond(margin).value if recipe.goal else None,
            recipe.patience if recipe.monitor == metric else 0,
            lambda share: (
                learning_rate(recipe, share * recipe.epochs * per_epoch, per_epoch) / recipe.lr
            ),
            is_ours=True,
            guess=guess,
        )
