"""Make `src/traintime/data/digits.npz` from scikit-learn's copy of the UCI optical digits.

scikit-learn is needed only here: `pip install scikit-learn`, then `python scripts/make_digits.py`.
It prints the checksums that `catalogue.toml` must hold.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "src" / "traintime" / "data" / "digits.npz"
DARKEST = 16  # a pixel counts the inked dots of a 4×4 cell


def main() -> None:
    """Write the file and print what it holds."""
    digits = importlib.import_module("sklearn.datasets").load_digits()
    images = np.rint(digits.images * 255 / DARKEST).astype(np.uint8)[..., None]  # (N, 8, 8, 1)
    labels = digits.target.astype(np.uint8)  # (N,)
    np.savez_compressed(TARGET, train_images=images, train_labels=labels)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, images {images.shape}")
    for name, array in (("train_images", images), ("train_labels", labels)):
        print(f'{name} = "{hashlib.sha256(array.tobytes()).hexdigest()}"')


if __name__ == "__main__":
    main()
