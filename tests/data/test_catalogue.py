import subprocess
import sys

import pytest

from traintime.data.catalogue import DATA_SETS, SplitSizes, find, split_sizes
from traintime.errors import InputError, UnknownNameError


def test_the_catalogue_is_read_without_torch_or_numpy():
    code = (
        "import sys, traintime.data.catalogue;"
        "assert not {'torch', 'numpy'} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_does_not_import_torch():
    code = "import sys, traintime.data.fetch; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("mnist", "mnist"),
        ("Fashion_MNIST", "fashion-mnist"),
        ("fashionmnist", "fashion-mnist"),
        ("CIFAR-10", "cifar10"),
        ("digits", "digits"),
    ],
)
def test_a_name_is_found_however_it_is_written(typed: str, name: str):
    assert find(typed).name == name


def test_an_unknown_name_gets_the_nearest_and_the_next_step():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'mnist'\?.*data=mnist"):
        find("mnits")


@pytest.mark.parametrize("facts", DATA_SETS.values(), ids=DATA_SETS)
def test_every_part_of_every_set_has_a_checksum_a_licence_and_ten_classes(facts):
    assert set(facts.sha256) == set(facts.part_shapes)
    assert all(len(checksum) == 64 for checksum in facts.sha256.values())
    assert facts.num_classes == 10
    assert facts.licence
    assert facts.attribution


@pytest.mark.parametrize("facts", DATA_SETS.values(), ids=DATA_SETS)
def test_official_addresses_are_encrypted_and_come_first(facts):
    for rank, source in enumerate(facts.sources):
        assert (source.how == "https") == (rank == 0)
        assert source.how != "https" or all(what.startswith("https://") for what in source.what)


def test_a_set_with_a_test_split_holds_validation_out_of_training(recipe_with):
    assert split_sizes(find("mnist"), recipe_with()) == SplitSizes(57_000, 3_000, 10_000)
    assert split_sizes(find("cifar10"), recipe_with(validation=0.1)) == SplitSizes(
        45_000, 5_000, 10_000
    )


def test_watching_the_test_part_holds_nothing_out(recipe_with):
    recipe = recipe_with(validate_on="test")
    assert split_sizes(find("mnist"), recipe) == SplitSizes(60_000, 10_000, 10_000)
    assert split_sizes(find("digits"), recipe) == SplitSizes(1_527, 270, 270)


def test_a_set_without_a_test_split_is_divided_by_shares(recipe_with):
    assert split_sizes(find("digits"), recipe_with()) == SplitSizes(1_257, 270, 270)
    halves = recipe_with(split=(0.5, 0.25, 0.25))
    assert split_sizes(find("digits"), halves) == SplitSizes(899, 449, 449)


def test_train_samples_limits_the_training_part_alone(recipe_with):
    sizes = split_sizes(find("mnist"), recipe_with(train_samples=1_000))
    assert sizes == SplitSizes(1_000, 3_000, 10_000)


def test_more_training_samples_than_there_are_is_refused_with_their_number(recipe_with):
    with pytest.raises(InputError, match=r"60,000 .* MNIST has 57,000 .*train_samples=57000"):
        split_sizes(find("mnist"), recipe_with(train_samples=60_000))


def test_a_batch_larger_than_the_training_part_is_refused_with_both_numbers(recipe_with):
    with pytest.raises(InputError, match=r"256 samples .* 100 .*Type batch_size=64"):
        split_sizes(find("mnist"), recipe_with(train_samples=100, batch_size=256))


def test_no_share_is_so_small_that_a_part_is_empty(recipe_with):
    sizes = split_sizes(find("mnist"), recipe_with(validation=1e-9))
    assert sizes == SplitSizes(59_999, 1, 10_000)
    sizes = split_sizes(find("mnist"), recipe_with(validation=1 - 1e-9, batch_size=1))
    assert sizes == SplitSizes(1, 59_999, 10_000)
