"""The learning rate at each step of the schedule: a resumed run needs no state of its own."""

from __future__ import annotations

import math

from traintime.recipe import Recipe


def learning_rate(recipe: Recipe, step: float, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    `one_cycle` falls in a straight line to zero after the warm-up (Smith 2018, "A disciplined
    approach to neural network hyper-parameters"), `cosine` along half a cosine (Loshchilov & Hutter
    2016, "SGDR"), `step` by a factor every few epochs, `constant` stays.

    Args:
        recipe: Gives the peak rate, the schedule and its length in epochs.
        step: Steps of the schedule before this one, from 0; whole ones unless it follows the time.
        steps_per_epoch: Optimizer steps in one epoch.
    """
    total = recipe.epochs * steps_per_epoch
    warmup = recipe.warmup * total
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    left = (total - step) / max(1.0, total - warmup)  # 1 right after the warm-up, towards 0
    match recipe.schedule:
        case "constant":
            factor = 1.0
        case "step":
            factor = recipe.decay_factor ** (step // steps_per_epoch // recipe.decay_every)
        case "cosine":
            factor = (1 - math.cos(math.pi * left)) / 2
        case "one_cycle":
            factor = left
    return recipe.lr * factor
