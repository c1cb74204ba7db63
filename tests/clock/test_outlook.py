import pytest

from traintime.clock import outlook
from traintime.clock.outlook import look_ahead
from traintime.clock.watched import Guess, Watched
from traintime.forecast.convergence import expected_curve
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


def stuck_and_not(seen: list[float], guess: Guess | None) -> tuple[float, float, float]:
    """Return the final accuracy's median and high end, and the chance of 90 %."""
    ahead = look_ahead(Watched("accuracy", 0.9, is_ours=True, guess=guess), seen, 10.0)
    assert ahead.chance is not None
    return ahead.final.median, ahead.final.high, ahead.chance


def test_a_run_that_guesses_is_not_promised_what_others_learned():
    for seen in ([0.112, 0.098, 0.1], [0.112] * 4):
        median, high, chance = stuck_and_not(seen, Guess(0.11, 3000))
        assert median < 0.13
        assert high < 0.3
        assert chance < 0.05


def test_one_validation_that_guesses_decides_nothing():
    _, high, _ = stuck_and_not([0.1], Guess(0.1, 3000))
    assert high > 0.7


def test_a_run_that_learns_is_not_taken_for_one_that_guesses():
    seen = [0.3, 0.5, 0.6]
    assert stuck_and_not(seen, Guess(0.1, 3000)) == pytest.approx(
        stuck_and_not(seen, None), rel=0.05
    )


@pytest.mark.parametrize(
    ("guess", "seen"),
    [
        (Guess(0.001, 50_000), [0.004, 0.01]),  # of 1,000 classes
        (Guess(0.9, 10_000), [0.92, 0.94]),
        (Guess(0.5, 500), [0.55, 0.6]),
    ],
)
def test_a_little_better_than_guessing_is_better(guess: Guess, seen: list[float]):
    median, _, _ = stuck_and_not(seen, guess)
    assert median == pytest.approx(stuck_and_not(seen, None)[0], rel=0.1)


def test_guessing_is_known_where_there_are_two_classes():
    assert Guess.by([30, 60, 10]) == Guess(0.6, 100)
    assert Guess.by([5]) is None
    assert Guess.by([0, 5]) is None
    assert Guess.by([]) is None


def test_earlier_runs_of_a_recipe_are_believed_beside_a_guess():
    recipe = read_recipe(model="lenet", data="mnist", epochs=10)
    curve = expected_curve(recipe, "accuracy")
    watched = Watched("accuracy", is_ours=True, guess=Guess(0.11, 3000))
    ahead = look_ahead(watched, [0.97], 10.0, curve)
    assert ahead.final.median > 0.98


def test_what_guessing_gives_says_nothing_of_a_loss():
    seen = [2.3, 2.3, 2.3]
    known, unknown = (
        look_ahead(Watched("loss", guess=g), seen, 10.0) for g in (Guess(0.1, 100), None)
    )
    assert known == unknown
