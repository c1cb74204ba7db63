import pytest

from traintime.errors import InputError
from traintime.forecast.asked_job import (
    micro_batch_size,
    sample_bytes,
    settle_precision,
    sized_model,
    uses_channels_last,
)
from traintime.hardware.devices import DeviceCount
from traintime.workload.sample import Sample

from .synthetic_device import IMAGE, card, graph, job, model, parameters


@pytest.mark.parametrize(
    ("asked", "spec", "settled"),
    [
        ("auto", card(), "amp"),
        ("auto", card(fp16_flops=None), "fp32"),
        ("auto", card(fp16_flops=5e12), "fp32"),
        ("auto", card(fp32_flops=None), "amp"),
        ("fp32", card(), "fp32"),
        ("tf32", card(tf32_flops=50e12), "tf32"),
        ("amp", card(), "amp"),
        ("half", card(), "half"),
    ],
)
def test_precision_is_settled_by_the_data_sheet(asked, spec, settled: str):
    assert settle_precision(asked, spec) == settled


@pytest.mark.parametrize(
    ("asked", "spec", "says"),
    [
        ("tf32", card(), "Card has no TF32. Type precision=fp32"),
        ("amp", card(fp16_flops=None), "Card gains nothing by 16 bits.*Type precision=fp32"),
        ("half", card(fp16_flops=None), "Card gains nothing by 16 bits.*Type precision=fp32"),
        (
            "fp32",
            card(fp32_flops=None),
            "fp32 rate of Card was never published. Type precision=amp",
        ),
    ],
)
def test_a_precision_that_a_device_lacks_is_refused(asked, spec, says: str):
    with pytest.raises(InputError, match=says):
        settle_precision(asked, spec)


@pytest.mark.parametrize(
    ("asked", "precision", "changes", "sample", "last"),
    [
        ("auto", "amp", {}, IMAGE, True),
        ("auto", "half", {}, IMAGE, True),
        ("auto", "fp32", {}, IMAGE, False),
        ("auto", "amp", {"architecture": "Pascal"}, IMAGE, False),
        ("auto", "amp", {"fp16_flops": 12e12}, IMAGE, False),
        ("auto", "amp", {}, Sample((512,), tokens=True), False),
        ("contiguous", "amp", {}, IMAGE, False),
        ("channels_last", "fp32", {}, IMAGE, True),
    ],
)
def test_matrix_engines_want_channels_last(asked, precision, changes, sample, last: bool):
    assert uses_channels_last(asked, card(**changes), precision, sample) is last


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "count", "micro_batch"),
    [(10, 1, 1, 10), (10, 2, 1, 5), (10, 1, 4, 3), (100, 4, 8, 4)],
)
def test_a_batch_is_split_over_devices_and_micro_batches(
    batch_size: int, accumulate: int, count: int, micro_batch: int
):
    asked = job(batch_size=batch_size, accumulate=accumulate)
    assert micro_batch_size(asked, DeviceCount(card(), count)) == micro_batch


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match=r"1,001 samples is more than the 1,000 .* batch_size=512"):
        micro_batch_size(job(batch_size=1_001), DeviceCount(card()))


def test_a_batch_smaller_than_its_parts_is_refused():
    with pytest.raises(InputError, match=r"over 8 devices and 2 micro-batches. .*batch_size=16"):
        micro_batch_size(job(accumulate=2), DeviceCount(card(), 8))
    with pytest.raises(InputError, match=r"over 11 devices\. Type batch_size=11 or more"):
        micro_batch_size(job(), DeviceCount(card(), 11))


def test_the_last_batch_of_an_epoch_may_be_short():
    assert job(train_samples=1_001).steps_per_epoch == 101


def test_samples_are_as_large_as_the_device_is_given_them():
    assert sample_bytes(IMAGE) == 4 * 3 * 32 * 32
    assert sample_bytes(Sample((512,), tokens=True)) == 512 * (8 + 8)


def test_a_model_is_sized_once_for_each_precision_and_batch():
    toy = model()
    assert toy("amp", 10) is toy("amp", 10)
    assert toy("amp", 10).graph.numerics == "amp"
    assert toy("tf32", 10).graph.numerics == toy("half", 10).graph.numerics == "fp32"


def test_a_model_is_scaled_to_the_input_asked_for():
    wide = graph(input_shape=(3, 16, 16), size_unit="pixels")
    assert model(wide)("amp", 1).size == 1.0
    assert sized_model(lambda _: wide, IMAGE, parameters())("amp", 1).size == 4.0
