import pytest

from traintime.data.catalogue import DATA_SETS
from traintime.data.known_sizes import _by_name, find_size
from traintime.errors import InputError, UnknownNameError


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("imagenet", 1_281_167, 50_000),
        ("ImageNet-1k", 1_281_167, 50_000),
        ("imagenet_21k", 14_197_122, 0),
        ("coco", 118_287, 5_000),
        ("CIFAR-100", 50_000, 10_000),
        ("squad", 87_599, 10_570),
        ("mnist", 60_000, 10_000),
        ("digits", 1_797, 0),
    ],
)
def test_sizes_are_those_that_were_published(name: str, train: int, validation: int):
    assert find_size(name).samples(1) == (train, validation)


def test_tokens_are_cut_into_full_sequences():
    wikitext = find_size("wikitext-103")
    assert wikitext.samples(1024) == (103_227_021 // 1024, 212)
    assert find_size("openwebtext").samples(1024) == (8_823_810, 4_330)


def test_sentences_are_samples_at_any_length():
    assert find_size("squad").samples(384) == find_size("squad").samples(512)


def test_an_unknown_set_says_what_to_type():
    with pytest.raises(UnknownNameError) as caught:
        find_size("imagnet")
    message = str(caught.value)
    assert "No data set named 'imagnet'. Did you mean 'imagenet'?" in message
    assert "`traintime data` lists them; for others say samples=50000" in message


def test_every_size_has_a_source_and_a_shape_that_fits():
    for size in _by_name().values():
        assert size.source
        assert size.title
        assert size.train > size.validation >= 0
        assert size.shape is None or (len(size.shape) == 3 and size.unit == "images")


def test_what_can_be_trained_on_keeps_its_shape():
    for name, facts in DATA_SETS.items():
        assert find_size(name).shape == facts.shape


def test_a_table_is_for_our_own_network():
    with pytest.raises(InputError, match=r"is a table, .* Type model=mlp and label="):
        find_size("./credit.csv")
