"""PyTorch by somebody who knows the set fits in memory: a TensorDataset in a DataLoader.

The images are transformed once, before the first epoch. Everything else is as in `pytorch.py`.
"""

from __future__ import annotations

import contender
import torch
import torch_recipe
from torch.utils.data import DataLoader, TensorDataset
from torch_networks import standardized


def main() -> None:
    """Run the race that the command line asks for."""
    race = contender.race_from_arguments()
    torch.manual_seed(race.seed)
    sets = {}
    for part in ("train", "test"):
        images, labels = race.images(part)
        sets[part] = TensorDataset(standardized(images), torch.from_numpy(labels))
    batch_size = torch_recipe.BATCH_SIZE
    torch_recipe.run(
        race,
        DataLoader(sets["train"], batch_size=batch_size, shuffle=True),
        DataLoader(sets["test"], batch_size=batch_size),
    )


if __name__ == "__main__":
    main()
