from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from traintime.data.augment import make_augmentation
from traintime.data.gather import GatherHere
from traintime.data.gather_ahead import GatherAhead
from traintime.data.prepare import Samples, StoredSamples
from traintime.data.resident import ResidentBatches, in_order
from traintime.data.streamed import Streamed, StreamedBatches, StreamedInOrder
from traintime.recipe import read_recipe

from .stores import store_of

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.1])
ROWS = np.random.default_rng(0).permutation(40)[:33]
LABELS = torch.arange(33) % 2
AUGMENTATION = make_augmentation(read_recipe(data="mnist", model="mlp", flip=True, crop=1))
FORMATS = [torch.contiguous_format, torch.channels_last]


@contextmanager
def both(
    folder: Path, workers: int, device: str, *form: Any
) -> Iterator[tuple[Samples, Streamed, tuple[Any, ...]]]:
    """Yield the same samples in memory and on the disk."""
    store, images = store_of(folder / "photos")
    asked = (pytest.fail, pytest.fail, nullcontext)
    gatherer = GatherAhead(store, 5, workers, *asked) if workers else GatherHere(store, *asked)
    placed = (device, MEAN, STD, *form)
    samples = Samples(torch.from_numpy(images[ROWS]), LABELS)
    try:
        yield samples, Streamed(StoredSamples(store, ROWS, LABELS), gatherer, *placed), placed
    finally:
        gatherer.close()


def assert_same_batches(folder: Path, workers: int, device: str, *form: Any) -> None:
    with both(folder, workers, device, *form) as (samples, streamed, placed):
        resident = ResidentBatches(samples, 5, *placed, augmentation=AUGMENTATION, seed=3)
        stored = StreamedBatches(streamed, 5, AUGMENTATION, 3)
        assert stored.steps_per_epoch == resident.steps_per_epoch == 7
        for epoch in (0, 1):
            for batches in (resident, stored):
                batches.start_epoch(epoch)
            for i in range(7):
                ours, theirs = stored.batch(i), resident.batch(i)
                assert torch.equal(ours[0], theirs[0])
                assert torch.equal(ours[1], theirs[1])
                assert ours[0].stride() == theirs[0].stride()
            assert torch.equal(stored.state(), resident.state())


def assert_same_order(folder: Path, workers: int, device: str, *form: Any) -> None:
    with both(folder, workers, device, *form) as (samples, streamed, placed):
        resident = in_order(samples, 12, *placed)
        stored = StreamedInOrder(streamed, 12, 5)
        for size in (12, 33, 4):
            ours, theirs = (list(each.in_batches_of(size)) for each in (stored, resident))
            assert len(ours) == len(theirs) == len(stored.in_batches_of(size))
            for (images, labels), (expected, classes) in zip(ours, theirs, strict=True):
                assert torch.equal(images, expected)
                assert torch.equal(labels, classes)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_shuffled_batches_are_those_of_images_in_memory(
    tmp_path: Path, workers: int, memory_format: torch.memory_format
):
    assert_same_batches(tmp_path, workers, "cpu", torch.float32, memory_format)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_batches_in_order_are_those_of_images_in_memory(
    tmp_path: Path, workers: int, memory_format: torch.memory_format
):
    assert_same_order(tmp_path, workers, "cpu", torch.bfloat16, memory_format)


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_on_a_gpu_batches_are_those_of_images_in_memory(
    tmp_path: Path, workers: int, memory_format: torch.memory_format
):
    assert_same_batches(tmp_path / "shuffled", workers, "cuda", torch.float32, memory_format)
    assert_same_order(tmp_path / "in order", workers, "cuda", torch.bfloat16, memory_format)
