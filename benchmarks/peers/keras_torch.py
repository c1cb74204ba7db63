"""Keras on PyTorch; the recipe is in `keras_recipe.py`."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras_recipe  # Keras reads its backend at import

if __name__ == "__main__":
    keras_recipe.main()
