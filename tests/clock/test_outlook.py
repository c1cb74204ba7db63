import pytest

from traintime.clock import outlook
from traintime.clock.outlook import look_ahead
from traintime.clock.watched import Watched
from traintime.recipe import read_recipe

SEEN = [0.7, 0.8, 0.85, 0.87, 0.88]


def test_a_run_ends_where_it_arrives():
    seen = look_ahead(Watched("accuracy", target=0.9), SEEN, 20.0)
    assert seen.arrivals is not None
    assert seen.endings[:-1] == pytest.approx(seen.arrivals[:-1])
    assert sum(seen.endings) == pytest.approx(1.0)


def test_recipes_are_of_our_own_trainer_and_loops_are_not():
    recipe = read_recipe(model="lenet", data="mnist")
    assert Watched.by(recipe, "accuracy").is_ours
    assert not Watched("accuracy").is_ours


@pytest.mark.parametrize(
    ("watched", "trainer"),
    [
        (Watched("accuracy", is_ours=True), outlook.TRAINER),
        (Watched("loss", is_ours=True), None),  # shapes of our own are of accuracies
        (Watched("accuracy"), None),
    ],
)
def test_shapes_of_our_own_are_told_from_others(monkeypatch, watched, trainer):
    forecaster, asked = outlook.forecaster(), []

    class Asked:
        def predict(self, *given, **known):
            asked.append(known["trainer"])
            return forecaster.predict(*given, **known)

    monkeypatch.setattr(outlook, "forecaster", Asked)
    look_ahead(watched, SEEN, 20.0)
    assert asked == [trainer]
