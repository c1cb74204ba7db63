from datetime import datetime, timedelta

import pytest

from traintime.errors import InputError
from traintime.recipe import Recipe, read_recipe
from traintime.recipe.steering import (
    STEERABLE,
    Reached,
    differences,
    in_words,
    learns_alike,
    steered,
)


def recipe(**fields: object) -> Recipe:
    return read_recipe(**{"data": "mnist", "model": "lenet", "epochs": 10, "lr": 0.02, **fields})


def test_fields_are_set_and_all_others_stay() -> None:
    before = recipe()
    after = steered(before, "set", {"lr": 0.01, "target": "accuracy:0.98"})
    assert differences(before, after) == {
        "lr": (0.02, 0.01),
        "target": (None, "accuracy:0.98"),
    }
    assert in_words(differences(before, after)) == "target none → accuracy:0.98, lr 0.02 → 0.01"


def test_a_target_is_taken_away_by_none() -> None:
    assert steered(recipe(target="loss:0.1"), "set", {"target": "none"}).target is None


def test_epochs_are_extended_by_so_many() -> None:
    assert steered(recipe(), "extend", {"epochs": 5}).epochs == 15


def test_a_budget_is_extended_by_so_much() -> None:
    assert steered(recipe(budget="10m"), "extend", {"budget": "90s"}).budget == "690s"


def test_every_steerable_field_is_one_of_a_recipe() -> None:
    assert set(STEERABLE) <= set(Recipe.model_fields)


@pytest.mark.parametrize(
    ("verb", "fields", "words"),
    [
        ("set", {"batch_size": 9}, "'batch_size' is settled when a run begins"),
        ("set", {"lrr": 9}, "no field 'lrr'. Did you mean 'lr'?"),
        ("set", {"lr": -1}, "lr=-1 does not work: input should be greater than 0"),
        ("set", {"target": "accuracy:99"}, "target=accuracy:0.99"),
        ("set", {"budget": "10m"}, "ends by its epochs"),
        ("set", {"patience": 3}, "neither switched on nor off"),
        ("extend", {"lr": 5}, "'lr' cannot be extended; type for example epochs=5"),
        ("extend", {"epochs": 0.5}, "adds no whole epochs"),
        ("extend", {"epochs": -3}, "adds no whole epochs"),
        ("extend", {"budget": "5m"}, "ends by its epochs"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_what_can(
    verb: str, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        steered(recipe(), verb, fields)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize("fields", [{"epochs": 12}, {"budget": "none"}])
def test_a_run_that_follows_the_time_keeps_to_that(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"ends by its budget.*Type budget=\.\.\."):
        steered(recipe(budget="10m"), "set", fields)


def test_a_deadline_cannot_be_moved_into_the_past() -> None:
    past = (datetime.now() - timedelta(hours=1)).isoformat()
    with pytest.raises(InputError, match="is past"):
        steered(recipe(budget="10m"), "set", {"budget": past})


def test_a_time_of_day_is_set_and_not_extended() -> None:
    until = (datetime.now() + timedelta(hours=1)).isoformat()
    with pytest.raises(InputError, match=r"set the new end: traintime runs set latest budget="):
        steered(recipe(budget=until), "extend", {"budget": "10m"})


def test_the_end_cannot_be_put_before_the_epoch_in_progress() -> None:
    with pytest.raises(InputError) as caught:
        steered(recipe(epochs=60), "set", {"epochs": 1}, Reached(epochs=16))
    assert str(caught.value) == (
        "epochs=1 is behind the run, which is in its epoch 16. To let it end with that one, type "
        "epochs=16. To save it and stop it now: traintime runs stop latest"
    )
    assert steered(recipe(epochs=60), "set", {"epochs": 16}, Reached(epochs=16)).epochs == 16


def test_a_budget_cannot_be_less_than_was_taken() -> None:
    taken = Reached(elapsed_s=400.0)
    with pytest.raises(InputError, match=r"budget=5m is over: .* 6 m 40 s.* such as budget=8m\."):
        steered(recipe(budget="20m"), "set", {"budget": "5m"}, taken)
    assert steered(recipe(budget="20m"), "set", {"budget": "8m"}, taken).budget == "480s"


def test_another_field_of_a_run_beyond_its_end_can_still_be_changed() -> None:
    assert steered(recipe(), "set", {"lr": 0.01}, Reached(epochs=99, elapsed_s=9e9)).lr == 0.01


def test_recipes_learn_alike_whatever_their_seed_end_and_machine() -> None:
    other = {"seed": 3, "target": "accuracy:0.9", "precision": "bf16", "patience": 2}
    assert learns_alike(recipe(), recipe(**other))
    for changed in ({"lr": 0.5}, {"epochs": 3}, {"batch_size": 32}, {"dropout": 0.1}):
        assert not learns_alike(recipe(), recipe(**changed))


def test_a_recipe_that_follows_the_time_has_no_curve_of_its_own() -> None:
    assert not learns_alike(recipe(budget="20m"), recipe(budget="20m"))
