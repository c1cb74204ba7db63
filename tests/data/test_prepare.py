import time

import numpy as np
import pytest
import torch

from traintime.data.catalogue import find, split_sizes
from traintime.data.draw import apportioned
from traintime.data.fetch import RawImages, load_raw
from traintime.data.prepare import pixel_statistics, prepare


def identified(raw):
    """Write its number into each image, so that it can be told again after a split."""
    for images in (raw.images, raw.test_images):
        if images is not None:
            numbers = np.arange(len(images))
            images[:, 0, 0, 0], images[:, 0, 1, 0] = numbers % 256, numbers // 256


def numbers_of(samples):
    images = samples.images.long()
    return (images[:, 0, 0, 0] + 256 * images[:, 0, 1, 0]).tolist()


@pytest.mark.parametrize("num_test", [60, None])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"validation": 0.13},
        {"train_samples": 31},
        {"validate_on": "test"},
        {"validate_on": "test", "train_samples": 100},
        {"split": (0.41, 0.26, 0.33)},
    ],
)
def test_parts_have_exactly_the_sizes_that_were_forecast(noise, recipe_with, num_test, values):
    facts, raw = noise(num_test=num_test)
    recipe = recipe_with(**values)
    parts, sizes = prepare(raw, recipe, facts), split_sizes(facts, recipe)
    assert len(parts.train) == sizes.train
    assert len(parts.validation) == sizes.validation
    assert len(parts.test) == sizes.test
    for part in (parts.train, parts.validation, parts.test):
        assert part.images.shape == (len(part), 4, 5, 3)
        assert part.images.dtype == torch.uint8
        assert part.images.is_contiguous()
        assert part.labels.dtype == torch.int64


@pytest.mark.parametrize("num_test", [60, None])
def test_no_sample_is_in_two_parts_and_labels_stay_with_their_images(noise, recipe_with, num_test):
    facts, raw = noise(num_test=num_test)
    identified(raw)
    parts = prepare(raw, recipe_with(), facts)
    train, validation = numbers_of(parts.train), numbers_of(parts.validation)
    drawn = train + validation + ([] if num_test else numbers_of(parts.test))
    assert sorted(drawn) == list(range(600))
    assert torch.equal(parts.train.labels, torch.from_numpy(raw.labels[train].astype(np.int64)))


def test_each_part_has_the_classes_in_proportion(noise, recipe_with):
    facts, raw = noise(num_test=None)
    parts = prepare(raw, recipe_with(split=(0.5, 0.3, 0.2)), facts)
    assert torch.bincount(parts.train.labels).tolist() == [150, 100, 50]
    assert torch.bincount(parts.validation.labels).tolist() == [90, 60, 30]
    assert torch.bincount(parts.test.labels).tolist() == [60, 40, 20]
    few = prepare(raw, recipe_with(train_samples=12), facts)
    assert torch.bincount(few.train.labels).tolist() == [6, 4, 2]


def test_the_split_follows_the_seed_alone(noise, recipe_with):
    facts, raw = noise()
    identified(raw)
    first, again = (prepare(raw, recipe_with(seed=1), facts) for _ in range(2))
    other = prepare(raw, recipe_with(seed=2), facts)
    assert numbers_of(first.train) == numbers_of(again.train)
    assert numbers_of(first.validation) != numbers_of(other.validation)


def test_fewer_training_samples_are_measured_on_the_same_validation_part(noise, recipe_with):
    facts, raw = noise()
    identified(raw)
    all_of_it = prepare(raw, recipe_with(), facts)
    few = prepare(raw, recipe_with(train_samples=60), facts)
    assert numbers_of(few.validation) == numbers_of(all_of_it.validation)
    assert set(numbers_of(few.train)) < set(numbers_of(all_of_it.train))


def test_watching_the_test_part_trains_on_all_without_a_copy(noise, recipe_with):
    facts, raw = noise()
    parts = prepare(raw, recipe_with(validate_on="test"), facts)
    assert parts.validation is parts.test
    assert parts.train.images.data_ptr() == raw.images.ctypes.data


def test_statistics_are_of_the_training_part_alone(noise, recipe_with):
    facts, raw = noise()
    parts = prepare(raw, recipe_with(), facts)
    raw.images[:] = 255  # the parts are cut from it, so they must not notice
    pixels = parts.train.images.double() / 255
    assert torch.allclose(parts.mean, pixels.mean((0, 1, 2)).float(), rtol=1e-6)
    assert torch.allclose(parts.std, pixels.std((0, 1, 2), correction=0).float(), rtol=1e-6)
    assert not torch.allclose(parts.mean, parts.validation.images.double().mean((0, 1, 2)).float())


def test_statistics_by_hand():
    images = torch.tensor([[[[0, 10]], [[255, 10]]]], dtype=torch.uint8)  # (1, 2, 1, 2)
    mean, std = pixel_statistics(images)
    assert mean.tolist() == pytest.approx([0.5, 10 / 255])
    assert std.tolist() == pytest.approx([0.5, 1 / 255])  # no contrast counts as one step


@pytest.mark.parametrize(
    ("counts", "take", "expected"),
    [
        ([10, 10], 5, [3, 2]),
        ([3, 2, 1], 6, [3, 2, 1]),
        ([3, 2, 1], 4, [2, 1, 1]),
        ([100, 0, 1], 1, [1, 0, 0]),
        ([5, 5, 5], 0, [0, 0, 0]),
    ],
)
def test_remainders_decide_who_gets_one_more(counts, take, expected):
    assert apportioned(np.array(counts), take).tolist() == expected


def test_the_digits_prepare(recipe_with):
    facts = find("digits")
    parts = prepare(load_raw("digits", print), recipe_with(data="digits"), facts)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (1257, 270, 270)
    assert torch.bincount(parts.test.labels).min() >= 26


@pytest.mark.slow
def test_a_set_of_the_size_of_mnist_prepares_in_a_blink(recipe_with):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60_000, 28, 28, 1), np.uint8)
    labels = random.integers(0, 10, 60_000, np.uint8)
    raw = RawImages(images, labels, images[:10_000], labels[:10_000], "noise")

    def seconds():
        start = time.perf_counter()
        prepare(raw, recipe_with(), find("mnist"))
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.15
