import pytest

from traintime.architecture import network_for
from traintime.architecture.fusing import can_be_fused, is_fusable
from traintime.architecture.layers import Activation, Conv2d, Flatten, MaxPool
from traintime.recipe import read_recipe

RELU, POOL = Activation("relu"), MaxPool(2)


def test_only_few_channels_are_worth_their_zeros():
    assert is_fusable([Conv2d(16, 32, 3, 1), RELU, POOL], (16, 32, 32))
    assert not is_fusable([Conv2d(17, 32, 3, 1), RELU, POOL], (17, 32, 32))
    assert not is_fusable([Conv2d(16, 33, 3, 1), RELU, POOL], (16, 32, 32))


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
def test_nothing_else_is_fusable(layers):
    assert not is_fusable(layers, (1, 28, 28))


@pytest.mark.parametrize(
    ("model", "fields", "shape", "expected"),
    [
        ("lenet", {}, (1, 28, 28), True),
        ("lenet", {}, (1, 8, 8), True),
        ("lenet", {"activation": "gelu"}, (1, 28, 28), False),
        ("lenet", {"batch_norm": True}, (1, 28, 28), False),
        ("mlp", {}, (1, 28, 28), False),
        ("resnet18", {"batch_norm": False}, (3, 32, 32), False),
        ("vgg11", {"batch_norm": False}, (3, 32, 32), False),
    ],
)
def test_a_network_can_be_fused_where_any_of_its_layers_can(model, fields, shape, expected):
    recipe = read_recipe(data="mnist", model=model, **fields)
    assert can_be_fused(network_for(recipe, shape, 10).layers, shape) is expected
