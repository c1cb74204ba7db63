import pytest

from traintime.architecture.layers import (
    Activation,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Network,
    Residual,
    output_shape,
)


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        (Conv2d(1, 6, 5), (1, 28, 28), (6, 24, 24)),
        (Conv2d(3, 64, 3, padding=1), (3, 32, 30), (64, 32, 30)),
        (Conv2d(64, 128, 3, padding=1, stride=2), (64, 32, 32), (128, 16, 16)),
        (Conv2d(64, 128, 1, stride=2), (64, 7, 7), (128, 4, 4)),
        (MaxPool(2), (16, 9, 8), (16, 4, 4)),
        (GlobalMaxPool(), (512, 4, 4), (512,)),
        (GlobalAveragePool(), (512, 4, 4), (512,)),
        (Flatten(), (16, 4, 4), (256,)),
        (Linear(256, 120), (256,), (120,)),
        (BatchNorm(6), (6, 4, 4), (6, 4, 4)),
        (Activation("relu"), (120,), (120,)),
        (Dropout(0.5), (120,), (120,)),
    ],
)
def test_a_layer_knows_the_shape_behind_it(layer, before, after):
    assert layer.output(before) == after


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        (Conv2d(1, 6, 5), 156),  # 6 · (25 + 1)
        (Conv2d(6, 16, 5, bias=False), 2400),
        (Linear(120, 84), 10_164),  # 84 · (120 + 1)
        (BatchNorm(64), 128),
        (MaxPool(2), 0),
        (Residual((Conv2d(4, 4, 3, 1),), (Conv2d(4, 4, 1),)), 168),  # 4 · 37 + 4 · 5
    ],
)
def test_a_layer_knows_its_parameters(layer, parameters):
    assert layer.parameters == parameters


def test_the_branches_of_a_residual_must_meet():
    halving = Conv2d(4, 8, 3, padding=1, stride=2)
    assert Residual((halving,), (Conv2d(4, 8, 1, stride=2),)).output((4, 8, 8)) == (8, 4, 4)
    with pytest.raises(AssertionError, match="branches differ"):
        Residual((halving,)).output((4, 8, 8))


def test_a_linear_layer_refuses_other_features():
    with pytest.raises(AssertionError, match="meets"):
        output_shape((Flatten(), Linear(10, 2)), (1, 3, 3))


def test_a_network_sums_its_layers():
    layers = (Flatten(), Linear(4, 3), Activation("relu"), Linear(3, 2))
    assert Network("tiny", (1, 2, 2), 2, layers).parameters == 15 + 8
