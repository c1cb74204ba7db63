"""Changes of training images that leave their class as it is, made on the images' own device.

Each takes images (B, C, H, W) and a generator of the same device, and gives new images of the same
shape and memory format. What is drawn depends on the generator's state alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from traintime.recipe import Recipe

Augmentation = Callable[[Tensor, Generator], Tensor]


def make_augmentation(recipe: Recipe) -> Augmentation | None:
    """Return the augmentation that a recipe asks for, or None if it asks for none.

    It is meant for normalised images, where the 0 of `cutout` is the mean.
    """
    steps: list[Augmentation] = []
    if recipe.crop:
        steps.append(partial(shifted_crop, pixels=recipe.crop))
    if recipe.flip:
        steps.append(random_flip)
    if recipe.cutout:
        steps.append(partial(cutout, size=recipe.cutout))
    return partial(_in_turn, steps=tuple(steps)) if steps else None


def _in_turn(images: Tensor, generator: Generator, steps: tuple[Augmentation, ...]) -> Tensor:
    for step in steps:
        images = step(images, generator)
    return images


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with a chance of one half."""
    is_mirrored = (
        torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device) < 0.5
    )
    return torch.where(is_mirrored, images.flip(-1), images)


def shifted_crop(images: Tensor, generator: Generator, pixels: int) -> Tensor:
    """Shift each image by up to `pixels` along both axes; what comes in is its own reflection.

    The same as padding by reflection and cropping at random, without making the padded images.
    """
    num_images, _, height, width = images.shape
    rows = _shifted(num_images, height, pixels, generator, images.device)
    columns = _shifted(num_images, width, pixels, generator, images.device)
    # (B, H, W), where each pixel comes from
    places = rows[:, :, None] * width + columns[:, None, :]
    if images.is_contiguous():
        return _gathered_by_plane(images, places)
    return _gathered_by_pixel(images, places)


def _gathered_by_plane(images: Tensor, places: Tensor) -> Tensor:
    """Take each pixel (B, H, W) from its place, for contiguous images."""
    num_images, num_channels, *_ = images.shape
    planes = images.view(num_images, num_channels, -1)
    of_every_channel = places.view(num_images, 1, -1).expand_as(planes)
    return planes.gather(2, of_every_channel).view_as(images)


def _gathered_by_pixel(images: Tensor, places: Tensor) -> Tensor:
    """Take each pixel (B, H, W) from its place with all its channels, for channels_last images."""
    by_pixel = images.permute(0, 2, 3, 1)  # (B, H, W, C)
    num_images, num_places = len(places), places[0].numel()
    firsts = torch.arange(0, num_images * num_places, num_places, device=images.device)
    index = (places + firsts[:, None, None]).view(-1)
    taken = by_pixel.reshape(len(index), -1).index_select(0, index)
    return taken.view(by_pixel.shape).permute(0, 3, 1, 2)


def _shifted(
    num_images: int, size: int, pixels: int, generator: Generator, device: torch.device
) -> Tensor:
    """Return which row (or column) each row comes from, (B, size), folded back at the edges."""
    shift = torch.randint(-pixels, pixels + 1, (num_images, 1), generator=generator, device=device)
    period = max(2 * (size - 1), 1)
    place = (torch.arange(size, device=device) + shift).remainder_(period)
    return torch.minimum(place, period - place) if size > 1 else place


def cutout(images: Tensor, generator: Generator, size: int) -> Tensor:
    """Blank a square of `size` pixels in each image, anywhere that it fits in.

    References:
        DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with
        Cutout", arXiv:1708.04552; there the square may stand out over the edge.
    """
    num_images, _, height, width = images.shape
    rows = _within(num_images, height, size, generator, images.device)
    columns = _within(num_images, width, size, generator, images.device)
    is_blank = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, H, W)
    return images * ~is_blank  # masked_fill would make channels_last images contiguous


def _within(
    num_images: int, length: int, size: int, generator: Generator, device: torch.device
) -> Tensor:
    """Return which rows (or columns) of each image belong to its square, bool (B, length)."""
    first = torch.randint(0, length - size + 1, (num_images, 1), generator=generator, device=device)
    place = torch.arange(length, device=device)
    return (place >= first) & (place < first + size)
