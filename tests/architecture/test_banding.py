import pytest

from traintime.architecture import network_for
from traintime.architecture.banding import MAX_BAND_COLUMNS, can_be_banded, is_bandable
from traintime.architecture.layers import Activation, Conv2d, Flatten, MaxPool
from traintime.recipe import read_recipe

RELU, POOL = Activation("relu"), MaxPool(2)


def test_a_band_has_as_many_columns_as_are_worth_their_zeros():
    assert MAX_BAND_COLUMNS == 64 * 32
    assert is_bandable([Conv2d(3, 64, 3, 1), RELU, POOL], (3, 32, 32))
    assert not is_bandable([Conv2d(3, 66, 3, 1), RELU, POOL], (3, 32, 32))


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [Conv2d(1, 6, 5)],
        [Conv2d(1, 6, 5), RELU],
        [Conv2d(1, 6, 5), RELU, POOL, Flatten()],
        [Conv2d(1, 6, 5), POOL, RELU],
        [Conv2d(1, 6, 5, stride=2), RELU, POOL],
        [Conv2d(1, 6, 5), Activation("tanh"), POOL],
        [Conv2d(1, 6, 5), RELU, MaxPool(3)],
        [Conv2d(1, 6, 4), RELU, POOL],  # 25×25 would lose a row
    ],
)
def test_nothing_else_is_bandable(layers):
    assert not is_bandable(layers, (1, 28, 28))


@pytest.mark.parametrize(
    ("model", "fields", "shape", "expected"),
    [
        ("lenet", {}, (1, 28, 28), True),
        ("lenet", {}, (1, 8, 8), True),
        ("lenet", {"activation": "gelu"}, (1, 28, 28), False),
        ("lenet", {"batch_norm": True}, (1, 28, 28), False),
        ("mlp", {}, (1, 28, 28), False),
        ("resnet18", {"batch_norm": False}, (3, 32, 32), False),
        ("vgg11", {"batch_norm": False}, (3, 32, 32), True),
        ("vgg11", {"batch_norm": False}, (3, 128, 128), False),
    ],
)
def test_a_network_can_be_banded_where_any_of_its_layers_can(model, fields, shape, expected):
    recipe = read_recipe(data="mnist", model=model, **fields)
    assert can_be_banded(network_for(recipe, shape, 10).layers, shape) is expected
