"""PyTorch as its tutorials have it: a Dataset that transforms image by image, and a DataLoader.

From "Training with PyTorch": ToTensor and Normalize((0.5,), (0.5,)) for each image, the network, no
worker processes. Made lighter for fairness: the images lie in memory as an array and the transform
needs no PIL image, which torchvision's data sets make for each sample. `torch_recipe.py` says where
batch size and optimizer come from.
"""

from __future__ import annotations

import contender
import numpy as np
import torch
import torch_recipe
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    """Images in memory, transformed when they are asked for.

    Args:
        images: uint8, (N, H, W, C).
        labels: int64, (N,).
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one image (C, H, W) between -1 and 1, and its label."""
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).contiguous()
        return image.float().div(255).sub_(0.5).div_(0.5), int(self.labels[index])


def main() -> None:
    """Run the race that the command line asks for."""
    race = contender.race_from_arguments()
    torch.manual_seed(race.seed)
    batch_size = torch_recipe.BATCH_SIZE
    train = DataLoader(Images(*race.images("train")), batch_size=batch_size, shuffle=True)
    test = DataLoader(Images(*race.images("test")), batch_size=batch_size)
    torch_recipe.run(race, train, test)


if __name__ == "__main__":
    main()
