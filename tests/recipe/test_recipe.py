from pathlib import Path

import pytest
from pydantic import ValidationError

from traintime.errors import InputError
from traintime.recipe import Recipe, Target, read_recipe
from traintime.recipe.recipe import parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("accuracy:0.99", Target("accuracy", 0.99)),
        ("accuracy:1", Target("accuracy", 1.0)),
        ("accuracy: 0.9", Target("accuracy", 0.9)),
        ("loss:0.1", Target("loss", 0.1)),
        ("loss:3e-2", Target("loss", 0.03)),
    ],
)
def test_a_target_is_a_metric_and_a_value(text: str, target: Target):
    assert parse_target(text) == target
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy:1.2", "cannot reach 1.2. Type target=accuracy:0.9"),
        ("accuracy:99", "cannot reach 99. Type target=accuracy:0.99"),
        ("accuracy:97.5", "cannot reach 97.5. Type target=accuracy:0.975"),
        ("accuracy:0", "cannot reach 0. Type target=accuracy:0.9"),
        ("accuracy:-0.5", "cannot reach -0.5. Type target=accuracy:0.9"),
        ("accuracy:nan", "cannot reach nan. Type target=accuracy:0.9"),
        (
            "accuracy:abc",
            "'accuracy:abc' has no number after the colon; type for example target=ac",
        ),
        ("accuracy", "'accuracy' has no number after the colon; type for example target=accuracy:"),
        ("loss:-1", "not -1. Type target=loss:0.1"),
        ("loss:0", "not 0. Type target=loss:0.1"),
        ("loss:inf", "not inf. Type target=loss:0.1"),
        ("loss:nan", "not nan. Type target=loss:0.1"),
        ("loss:low", "'loss:low' has no number after the colon; type for example target=loss:0.3"),
        ("f1:0.9", "'f1:0.9' names no known metric. Expected accuracy:VALUE or loss:VALUE"),
        ("0.99", "'0.99' names no known metric. Expected accuracy:VALUE or loss:VALUE"),
    ],
)
def test_an_impossible_target_says_what_to_type(text: str, message: str):
    with pytest.raises(InputError) as caught:
        parse_target(text)
    assert message in str(caught.value)


def test_accuracy_is_reached_from_below_and_loss_from_above():
    assert Target("accuracy", 0.9).is_reached_by(0.9)
    assert not Target("accuracy", 0.9).is_reached_by(0.899)
    assert Target("loss", 0.1).is_reached_by(0.1)
    assert not Target("loss", 0.1).is_reached_by(0.101)


def test_a_measurement_that_is_no_number_reaches_nothing():
    assert not Target("accuracy", 0.9).is_reached_by(float("nan"))
    assert not Target("loss", 0.1).is_reached_by(float("nan"))


def test_the_goal_is_the_target_as_values():
    assert read_recipe(data="mnist", model="mlp", target="loss:0.3").goal == Target("loss", 0.3)
    assert read_recipe(data="mnist", model="mlp").goal is None


def test_a_recipe_does_not_change():
    recipe = read_recipe(data="mnist", model="mlp")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.epochs = 3


def test_every_field_is_explained():
    assert [name for name, field in Recipe.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("words", "cache", "workers"),
    [
        ([], "auto", "auto"),
        (["workers=0"], "auto", 0),
        (["cache=disk", "workers=2"], "disk", 2),
        (["cache=none", "workers=auto"], "none", "auto"),
        (["cache=off"], "none", "auto"),
    ],
)
def test_where_images_are_kept_and_who_gathers_them(
    words: list[str], cache: str, workers: int | str
):
    recipe = read_recipe(["data=./photos", "model=mlp", *words])
    assert (recipe.cache, recipe.workers) == (cache, workers)
    assert read_recipe(**recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["workers=many"], "workers=many does not work: it is a number of processes from 0 to 256"),
        (["workers=-1"], "or auto; try workers=2"),
        (["workers=1.5"], "or auto; try workers=2"),
        (["cache=ram"], "cache=ram does not work: input should be 'auto', 'memory', 'disk' or"),
        (["cache=memory", "workers=2"], "leave workers out, or type cache=disk"),
        (["data=mnist", "workers=2"], "workers is for images of your own, and mnist fits into mem"),
    ],
)
def test_what_cannot_be_gathered_so_is_said(words: list[str], message: str):
    with pytest.raises(InputError) as caught:
        read_recipe(["data=./photos", "model=mlp", *words])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["credit.csv", "./Credit.CSV", "~/a b.tsv", "x/y.parquet"])
def test_what_ends_like_a_table_is_one(name: str):
    recipe = read_recipe([f"data={name}", "model=mlp", "label=on"])
    assert recipe.table
    assert recipe.table.is_absolute()
    assert recipe.folder is None
    assert recipe.data == str(recipe.table)
    assert recipe.label == "on", "as it was typed, and not YAML's true"
    assert recipe.data_name == Path(name).name


def test_a_folder_that_ends_like_a_table_is_a_folder(tmp_path: Path):
    (tmp_path / "x.csv").mkdir()
    recipe = read_recipe(data=str(tmp_path / "x.csv"), model="mlp")
    assert (recipe.table, recipe.folder) == (None, tmp_path / "x.csv")


def test_a_label_is_for_tables():
    with pytest.raises(InputError, match=r"mnist is none; .* ends in \.csv, \.tsv or \.parquet"):
        read_recipe(data="mnist", model="mlp", label="Status")


@pytest.mark.parametrize(
    "word", ["image_size=8", "cache=disk", "workers=2", "flip=true", "crop=2", "cutout=3"]
)
def test_fields_of_images_are_refused_for_tables(word: str):
    name = word.partition("=")[0]
    with pytest.raises(InputError, match=f"{name} is for images, and t.csv is a table"):
        read_recipe(["data=t.csv", "model=mlp", "label=y", word])
