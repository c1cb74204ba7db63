"""What was asked for: one validated description of a training job."""

from traintime.recipe.parse import read_recipe
from traintime.recipe.recipe import Recipe, Target

__all__ = ["Recipe", "Target", "read_recipe"]
