import pytest

from tests.workload.test_kernels import graph
from traintime.errors import InputError
from traintime.workload.sample import Sample, read_sample, relative_size


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        ("3x224x224", Sample((3, 224, 224))),
        (" 3 X 32x 32 ", Sample((3, 32, 32))),
        ("1×28×28", Sample((1, 28, 28))),
        ("784", Sample((784,))),
        ("512 tokens", Sample((512,), tokens=True)),
        ("1token", Sample((1,), tokens=True)),
    ],
)
def test_a_shape_is_read_as_it_is_typed(text, sample):
    assert read_sample(text) == sample


@pytest.mark.parametrize("text", ["", "big", "3x", "0x3", "-3x4", "3x224x224 tokens", "3,4", "1.5"])
def test_what_is_no_shape_is_refused_with_an_example(text):
    with pytest.raises(InputError, match=r"input=3x224x224, or input='512 tokens'"):
        read_sample(text)


@pytest.mark.parametrize("text", ["99999999999999999999", "3x9999999x9999999", "1" * 5000])
def test_what_no_sample_holds_is_refused(text):
    with pytest.raises(InputError, match=r"more than any sample holds. Type for example input=3x"):
        read_sample(text)


def test_a_shape_is_said_as_it_is_typed():
    assert str(Sample((3, 32, 64))) == "3x32x64"
    assert str(Sample((512,), tokens=True)) == "512 tokens"


def test_images_count_by_their_area():
    images = graph(input_shape=(3, 224, 224))
    assert relative_size(images, Sample((3, 224, 224))) == 1
    assert relative_size(images, Sample((3, 112, 112))) == 0.25
    assert relative_size(images, Sample((3, 224, 112))) == 0.5


def test_text_counts_by_its_length():
    text = graph(input_shape=(512,), size_unit="tokens")
    assert relative_size(text, Sample((128,), tokens=True)) == 0.25


@pytest.mark.parametrize(
    ("fields", "sample", "held"),
    [
        ({}, Sample((1, 8, 8)), "images of 3 channels and any sides, such as 3x8x8"),
        ({}, Sample((64,)), "images of 3 channels and any sides, such as 3x8x8"),
        ({}, Sample((3, 64)), "images of 3 channels and any sides, such as 3x8x8"),
        ({"size_unit": None}, Sample((3, 16, 16)), "3x8x8 alone"),
        (
            {"input_shape": (512,), "size_unit": "tokens"},
            Sample((3, 8, 8)),
            "text of any length, such as 512 tokens",
        ),
    ],
)
def test_a_sample_that_a_graph_does_not_hold_for_is_refused(fields, sample, held):
    with pytest.raises(InputError, match=rf"tiny, which is known for {held}.*file\.py:build"):
        relative_size(graph(**fields), sample)
