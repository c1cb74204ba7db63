"""Keras on TensorFlow, which runs the step as a graph; the recipe is in `keras_recipe.py`."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras_recipe  # Keras reads its backend at import

if __name__ == "__main__":
    keras_recipe.main()
