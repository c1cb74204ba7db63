from collections.abc import Iterator, Sequence

import pytest

from traintime.architecture import NETWORKS, Layer, Network, network_for
from traintime.architecture.layers import (
    Activation,
    BatchNorm,
    Conv2d,
    Dropout,
    Linear,
    Residual,
    Shape,
    output_shape,
)
from traintime.errors import InputError, UnknownNameError
from traintime.recipe import read_recipe

GREY, COLOUR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)


def network(model: str, shape: Shape = GREY, num_classes: int = 10, **fields: object) -> Network:
    return network_for(read_recipe(data="mnist", model=model, **fields), shape, num_classes)


def flat(layers: Sequence[Layer]) -> Iterator[Layer]:
    for layer in layers:
        if isinstance(layer, Residual):
            yield from flat((*layer.body, *layer.shortcut))
        else:
            yield layer


def count(net: Network, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in flat(net.layers))


@pytest.mark.parametrize(
    ("model", "shape", "batch_norm", "parameters"),
    [
        # 784 · 128 + 128, 128 · 10 + 10
        ("mlp", GREY, False, 101_770),
        # 6 · 26, 16 · 151, 120 · 401, 84 · 121, 10 · 85: the number of LeCun et al. 1998, to which
        # the margin around 28×28 brings it
        ("lenet", GREY, False, 61_706),
        # three colours: 6 · 76
        ("lenet", COLOUR, False, 61_706 + 300),
        # 16 · 2 · 2 features in the middle: 120 · 65
        ("lenet", DIGITS, False, 61_706 - 120 * 336),
        # weights of the convolutions, scales and shifts of 2240 channels, 512 · 10 + 10
        ("resnet9", COLOUR, True, 6_563_520 + 4_480 + 5_130),
        # the number known from CIFAR-10's ResNet-18
        ("resnet18", COLOUR, True, 11_173_962),
        # the number known from CIFAR-10's VGG-11 with its 2752 superfluous biases
        ("vgg11", COLOUR, True, 9_231_114 - 2_752),
    ],
)
def test_parameters_are_those_counted_by_hand(model, shape, batch_norm, parameters):
    assert network(model, shape, batch_norm=batch_norm).parameters == parameters


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("shape", [GREY, COLOUR, DIGITS, (3, 8, 40), (4, 64, 64)])
@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_every_network_gives_a_score_per_class(model, shape, num_classes):
    made = network(model, shape, num_classes)
    assert output_shape(made.layers, shape) == (num_classes,)
    assert (made.name, made.input_shape, made.num_classes) == (model, shape, num_classes)


@pytest.mark.parametrize("model", [model for model in NETWORKS if model != "mlp"])
def test_images_that_are_too_small_are_sent_to_the_mlp(model):
    with pytest.raises(InputError) as caught:
        network(model, (1, 7, 9))
    assert str(caught.value) == (
        f"{model} needs images of at least 8×8 pixels and mnist has 7×9; type model=mlp"
    )
    network("mlp", (1, 1, 1))


@pytest.mark.parametrize(("typed", "near"), [("lenet5", "lenet"), ("ResNet18", "resnet18")])
def test_an_unknown_model_gets_the_nearest(typed, near):
    with pytest.raises(UnknownNameError, match=rf"Did you mean '{near}'\?.*model=lenet"):
        network(typed)


def test_the_mlp_has_the_hidden_layers_that_were_asked_for():
    widths = [
        (layer.in_features, layer.out_features)
        for layer in network("mlp", hidden=(64, 32)).layers
        if isinstance(layer, Linear)
    ]
    assert widths == [(784, 64), (64, 32), (32, 10)]
    assert network("mlp", hidden=()).parameters == 7_850


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("function", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
def test_the_activation_is_the_same_everywhere(model, function):
    layers = flat(network(model, activation=function).layers)
    assert {layer.function for layer in layers if isinstance(layer, Activation)} == {function}


@pytest.mark.parametrize("model", NETWORKS)
def test_batch_norm_stands_behind_every_convolution_and_takes_its_bias(model):
    plain, normed = (network(model, batch_norm=choice) for choice in (False, True))
    assert count(plain, BatchNorm) == 0
    hidden = 1 if model == "mlp" else 0
    assert count(normed, BatchNorm) == count(normed, Conv2d) + hidden
    assert count(normed, Conv2d) == count(plain, Conv2d)
    assert all(layer.bias for layer in flat(plain.layers) if isinstance(layer, Conv2d))
    assert not any(layer.bias for layer in flat(normed.layers) if isinstance(layer, Conv2d))


@pytest.mark.parametrize(
    ("model", "dropouts"), [("mlp", 1), ("lenet", 2), ("resnet9", 1), ("resnet18", 1), ("vgg11", 1)]
)
def test_dropout_stands_before_the_last_layers(model, dropouts):
    assert count(network(model, dropout=0), Dropout) == 0
    made = network(model, dropout=0.3)
    assert count(made, Dropout) == dropouts
    assert made.layers[-2:] == (Dropout(0.3), made.layers[-1])


@pytest.mark.parametrize(
    ("model", "convolutions"), [("resnet9", 8), ("resnet18", 20), ("vgg11", 8)]
)
def test_a_network_is_as_deep_as_its_name_says(model, convolutions):
    # ResNet-18: 17 on the way and 3 in shortcuts, with the linear layer 18
    assert count(network(model), Conv2d) == convolutions
    assert count(network(model), Linear) == 1


def test_an_mlp_takes_rows_of_a_table():
    recipe = read_recipe(data="t.csv", label="y", model="mlp", hidden=(7,), dropout=0)
    made = network_for(recipe, (5,), 3)
    assert made.parameters == 7 * 6 + 3 * 8
    assert output_shape(made.layers, (5,)) == (3,)


def test_networks_of_convolutions_refuse_tables():
    for model in NETWORKS.keys() - {"mlp"}:
        with pytest.raises(InputError, match=f"{model} is for images, and t.csv is a table"):
            network_for(read_recipe(data="t.csv", label="y", model=model), (5,), 3)
