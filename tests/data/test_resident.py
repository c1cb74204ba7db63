import pytest
import torch

from traintime.data.augment import random_flip
from traintime.data.prepare import Samples, TableSamples
from traintime.data.resident import ResidentBatches, in_order

FORMATS = [torch.contiguous_format, torch.channels_last]
MEAN, STD = torch.tensor([0.5, 0.25, 0.1]), torch.tensor([0.2, 0.3, 0.4])


def some(count=23, channels=3):
    """Images whose label is also their first pixel."""
    images = torch.randint(
        0, 256, (count, 4, 5, channels), generator=torch.Generator(), dtype=torch.uint8
    )
    images[:, 0, 0, 0] = torch.arange(count)
    return Samples(images, torch.arange(count))


def batches(samples=None, batch_size=8, device="cpu", seed=0, **options):
    samples = some() if samples is None else samples
    channels = samples.images.shape[-1]
    return ResidentBatches(
        samples, batch_size, device, MEAN[:channels], STD[:channels], seed=seed, **options
    )


def epoch_of(resident, epoch):
    resident.start_epoch(epoch)
    return torch.cat([resident.batch(i)[1] for i in range(resident.steps_per_epoch)]).tolist()


def normalised(images):
    """The formula itself, (B, H, W, C) to (B, C, H, W)."""
    return ((images.double() / 255 - MEAN) / STD).permute(0, 3, 1, 2)


def test_an_epoch_has_every_sample_once_and_a_short_last_batch():
    resident = batches()
    assert resident.steps_per_epoch == 3
    assert sorted(epoch_of(resident, 0)) == list(range(23))
    assert resident.batch(2)[0].shape == (7, 3, 4, 5)


def test_the_order_of_any_epoch_can_be_had_again_from_seed_and_number():
    orders = [epoch_of(batches(seed=3), epoch) for epoch in range(4)]
    resumed = batches(seed=3)
    assert epoch_of(resumed, 2) == orders[2]
    assert epoch_of(resumed, 1) == orders[1]
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_of(batches(seed=4), 2) != orders[2]


def test_seeds_and_epochs_that_add_up_alike_have_orders_of_their_own():
    assert epoch_of(batches(seed=1), 2) != epoch_of(batches(seed=2), 1)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_batches_are_normalised_in_the_format_asked_for(memory_format):
    samples = some()
    images, labels = batches(samples, memory_format=memory_format).batch(1)
    assert images.shape == (8, 3, 4, 5)
    assert images.is_contiguous(memory_format=memory_format)
    expected = normalised(samples.images[labels]).float()
    assert torch.allclose(images, expected, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_grey_images_are_the_same_in_both_formats(memory_format):
    samples = some(channels=1)
    images, labels = batches(samples, memory_format=memory_format).batch(0)
    assert images.shape == (8, 1, 4, 5)
    assert images.is_contiguous(memory_format=memory_format)
    brightness = samples.images[labels].permute(0, 3, 1, 2).double() / 255
    assert torch.allclose(images, ((brightness - 0.5) / 0.2).float(), atol=1e-5)


def test_bfloat16_is_rounded_once_from_the_exact_value():
    exact, labels = batches().batch(0)
    rounded, same_labels = batches(dtype=torch.bfloat16).batch(0)
    assert torch.equal(labels, same_labels)
    assert torch.equal(rounded, exact.bfloat16())


def test_augmentation_goes_on_from_a_saved_state():
    resident = batches(augmentation=random_flip)
    resident.batch(0)
    state = resident.state()
    assert state.dtype == torch.uint8
    expected = [resident.batch(i)[0] for i in (1, 2)]
    other = batches(augmentation=random_flip)
    other.set_state(state)
    assert all(torch.equal(other.batch(i)[0], expected[i - 1]) for i in (1, 2))


def test_augmentation_does_not_change_the_order():
    assert epoch_of(batches(augmentation=random_flip), 1) == epoch_of(batches(), 1)


def test_batches_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    epoch_of(batches(augmentation=random_flip), 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_evaluation_goes_through_the_samples_in_order_as_often_as_wanted(memory_format):
    samples = some()
    ordered = in_order(samples, 10, "cpu", MEAN, STD, memory_format=memory_format)
    assert len(ordered) == 3
    for _ in range(2):
        images, labels = (torch.cat(parts) for parts in zip(*ordered, strict=True))
        assert torch.equal(labels, samples.labels)
        assert torch.allclose(images, normalised(samples.images).float(), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("memory_format", FORMATS)
def test_the_gpu_gives_the_same_values_and_a_state_that_can_be_stored(memory_format):
    samples = some()
    resident = batches(
        samples, device="cuda", memory_format=memory_format, augmentation=random_flip
    )
    assert sorted(epoch_of(resident, 5)) == list(range(23))
    assert epoch_of(resident, 5) == epoch_of(batches(samples, device="cuda"), 5)
    assert resident.state().device.type == "cpu"
    on_gpu = in_order(samples, 10, "cuda", MEAN, STD, memory_format=memory_format)
    images = torch.cat([images for images, _ in on_gpu])
    assert torch.allclose(images.cpu(), normalised(samples.images).float(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_table_are_given_as_they_are(dtype):
    rows = TableSamples(torch.randn(23, 5, generator=torch.Generator()), torch.arange(23))
    nothing = torch.zeros(0)
    resident = ResidentBatches(rows, 8, "cpu", nothing, nothing, dtype)
    seen = torch.cat([resident.batch(i)[0] for i in range(resident.steps_per_epoch)])
    assert seen.dtype == dtype
    assert torch.equal(seen, rows.features.to(dtype)[epoch_of(resident, 0)])
    ordered = in_order(rows, 10, "cpu", nothing, nothing, dtype)
    assert torch.equal(torch.cat([batch for batch, _ in ordered]), rows.features.to(dtype))
