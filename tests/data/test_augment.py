from functools import partial

import pytest
import torch

from traintime.data.augment import cutout, make_augmentation, random_flip, shifted_crop
from traintime.data.catalogue import check_augmentation, find
from traintime.errors import InputError

STEPS = {
    "flip": random_flip,
    "crop": partial(shifted_crop, pixels=2),
    "cutout": partial(cutout, size=3),
}
FORMATS = [torch.contiguous_format, torch.channels_last]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some(memory_format=torch.contiguous_format, shape=(50, 3, 6, 8)):
    images = torch.rand(shape, generator=generator(9)) + 1
    return images.contiguous(memory_format=memory_format)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_shape_type_and_memory_format_are_kept(step, memory_format):
    images = some(memory_format)
    result = step(images, generator())
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert result.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_generator_decides_everything(step):
    images = some()
    first = step(images, generator(1))
    assert torch.equal(first, step(images, generator(1)))
    assert torch.equal(first, step(some(torch.channels_last), generator(1)))
    assert not torch.equal(first, step(images, generator(2)))


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_bytes_are_augmented_like_floats(step):
    images = some().mul(100).byte()
    as_floats = step(images.float(), generator())
    assert torch.equal(step(images, generator()), as_floats.byte())


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_given_images_are_left_as_they_are(step):
    images = some()
    step(images, generator())
    assert torch.equal(images, some())


def test_about_half_of_the_images_are_mirrored_and_the_rest_left():
    images = some(shape=(1000, 1, 2, 3))
    result = random_flip(images, generator())
    is_mirrored = (result == images.flip(-1)).flatten(1).all(1)
    is_left = (result == images).flatten(1).all(1)
    assert (is_mirrored ^ is_left).all()
    assert 420 < is_mirrored.sum() < 580


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_crop_is_a_window_of_the_image_padded_by_reflection(memory_format):
    pixels, images = 2, some(memory_format)
    _, _, height, width = images.shape
    result = shifted_crop(images, generator(), pixels)
    padded = torch.nn.functional.pad(images, [pixels] * 4, mode="reflect")
    seen = set()
    for image, frame in zip(result, padded, strict=True):
        windows = [
            (y, x)
            for y in range(2 * pixels + 1)
            for x in range(2 * pixels + 1)
            if torch.equal(image, frame[:, y : y + height, x : x + width])
        ]
        assert len(windows) == 1
        seen.update(windows)
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(5))


def test_a_shift_by_more_than_the_image_folds_back_and_forth():
    images = torch.arange(3.0).expand(200, 1, 1, 3).contiguous()
    result = shifted_crop(images, generator(), 16)
    rows = {tuple(row) for row in result.view(200, 3).tolist()}
    assert rows == {(0, 1, 2), (1, 2, 1), (2, 1, 0), (1, 0, 1)}


def test_one_square_of_each_image_is_blanked_in_every_channel():
    result = cutout(some(), generator(), 3)
    is_blank = result == 0  # (B, C, H, W)
    assert (is_blank.sum((2, 3)) == 9).all()
    assert (is_blank == is_blank[:, :1]).all()
    rows, columns = is_blank[:, 0].any(2), is_blank[:, 0].any(1)
    assert (rows.sum(1) == 3).all()
    assert (columns.sum(1) == 3).all()
    assert rows.any(0).all()
    assert columns.any(0).all()


def test_a_recipe_without_augmentation_has_none(recipe_with):
    assert make_augmentation(recipe_with()) is None


def test_a_recipe_s_steps_are_made_in_turn(recipe_with):
    recipe = recipe_with(data="cifar10", flip=True, crop=2, cutout=3)
    augmentation = make_augmentation(recipe)
    assert augmentation is not None
    by_hand = generator(5)
    expected = shifted_crop(some(), by_hand, 2)
    expected = cutout(random_flip(expected, by_hand), by_hand, 3)
    assert torch.equal(augmentation(some(), generator(5)), expected)


def test_a_square_as_large_as_the_image_is_refused(recipe_with):
    with pytest.raises(InputError, match=r"8×8 pixels leaves nothing of digits .*Type cutout=2"):
        check_augmentation(find("digits"), recipe_with(data="digits", cutout=8))
