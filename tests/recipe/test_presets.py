import tomllib

import pytest

from traintime.architecture import NETWORKS
from traintime.recipe import Recipe, presets, read_recipe
from traintime.recipe.presets import preset

TABLES = tomllib.loads("""
any = { epochs = 10, batch_size = 128, optimizer = "adamw", lr = 0.002 }
optimizer.sgd = { lr = 0.1, momentum = 0.9 }
optimizer.adam = { lr = 0.003 }
optimizer.adamw = { lr = 0.002 }
optimizer.muon = { lr = 0.02 }

[model.convnet]
epochs = 4
batch_size = 256
optimizer = "sgd"
lr = 0.2
[model.convnet.fashion-mnist]
epochs = 8
flip = true

[model.perceptron]
batch_size = 64
optimizer = "muon"
lr = 0.01
[model.perceptron.digits]
batch_size = 16
""")


@pytest.fixture
def own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that do not change when better values are found."""
    monkeypatch.setattr(presets, "_tables", lambda: TABLES)


def recipe(model: str, data: str = "mnist", **fields: object) -> Recipe:
    return read_recipe(model=model, data=data, **fields)


@pytest.mark.usefixtures("own_tables")
@pytest.mark.parametrize(
    ("model", "data", "epochs", "batch_size", "optimizer", "lr", "flip"),
    [
        ("convnet", "mnist", 4, 256, "sgd", 0.2, False),
        ("convnet", "fashion-mnist", 8, 256, "sgd", 0.2, True),
        ("perceptron", "mnist", 10, 64, "muon", 0.01, False),
        ("perceptron", "digits", 10, 16, "muon", 0.01, False),
        ("transformer", "mnist", 10, 128, "adamw", 0.002, False),
    ],
)
def test_a_model_brings_its_own_values_and_those_for_its_data(
    model, data, epochs, batch_size, optimizer, lr, flip
):
    made = recipe(model, data)
    assert (made.epochs, made.batch_size, made.flip) == (epochs, batch_size, flip)
    assert (made.optimizer, made.lr) == (optimizer, lr)


@pytest.mark.usefixtures("own_tables")
@pytest.mark.parametrize(
    "alias", ["fashion-mnist", "Fashion-MNIST", "fashion_mnist", "fashionmnist", "Fashion MNIST"]
)
def test_a_data_set_takes_the_same_preset_however_it_is_written(alias: str):
    assert preset("convnet", alias) == preset("convnet", "fashion-mnist")
    assert preset("convnet", alias)["epochs"] == 8


@pytest.mark.usefixtures("own_tables")
def test_what_is_given_wins_over_the_preset():
    made = recipe("convnet", "fashion-mnist", epochs=3, lr=0.5)
    assert (made.epochs, made.lr, made.flip) == (3, 0.5, True)


@pytest.mark.usefixtures("own_tables")
@pytest.mark.parametrize(
    ("model", "data", "batch_size", "lr"),
    [
        ("convnet", "mnist", 512, 0.4),  # sgd: in proportion
        ("convnet", "mnist", 64, 0.05),
        ("perceptron", "mnist", 256, 0.02),  # muon: 0.01 · √(256 / 64)
        ("perceptron", "digits", 64, 0.02),  # there the rate belongs to batches of 16
        ("transformer", "mnist", 512, 0.004),  # adamw: 0.002 · √(512 / 128)
        ("transformer", "mnist", 256, 0.002828),
    ],
)
def test_the_learning_rate_follows_the_batch_size(model, data, batch_size, lr):
    assert recipe(model, data, batch_size=batch_size).lr == pytest.approx(lr)


@pytest.mark.usefixtures("own_tables")
def test_a_learning_rate_that_is_given_does_not_follow_the_batch_size():
    assert recipe("convnet", batch_size=512, lr=0.1).lr == 0.1


@pytest.mark.usefixtures("own_tables")
@pytest.mark.parametrize(
    ("fields", "lr"),
    [
        ({"optimizer": "sgd"}, 0.2),  # the preset's own optimizer keeps the preset's own value
        ({"optimizer": "muon", "batch_size": 128}, 0.02),
        ({"optimizer": "adam"}, 0.004243),  # 0.003 at 128 samples, times √2 for 256
        ({"optimizer": "adamw", "batch_size": 512}, 0.004),
    ],
)
def test_another_optimizer_gets_its_own_learning_rate(fields: dict[str, object], lr: float):
    assert recipe("convnet", **fields).lr == pytest.approx(lr)


@pytest.mark.usefixtures("own_tables")
def test_sgd_in_place_of_another_optimizer_scales_in_proportion():
    assert recipe("perceptron", optimizer="sgd").lr == pytest.approx(0.05)  # 0.1 · 64 / 128


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_every_shipped_model_goes_with_every_optimizer(model: str, optimizer: str):
    assert recipe(model, "cifar10", optimizer=optimizer).optimizer == optimizer


@pytest.mark.parametrize("model", NETWORKS)
def test_every_shipped_preset_is_of_a_network_and_of_fields_that_exist(model: str):
    values = preset(model, "mnist")
    assert set(values) <= set(Recipe.model_fields)
    assert model in presets._tables()["model"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_tables_have_a_preset_for_every_optimizer(optimizer: str):
    made = recipe("mlp", "t.csv", optimizer=optimizer)
    assert (made.epochs, made.batch_size, made.image_size) == (20, 64, None)
    assert set(preset("mlp", "t.csv")) <= set(Recipe.model_fields) | {"batch_size_of_lr"}
