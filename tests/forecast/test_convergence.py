import math

import pytest

from traintime.forecast import convergence
from traintime.forecast.convergence import Curve, expected_curve
from traintime.recipe import Target, read_recipe

MEASURED = [
    {
        "data": "mnist",
        "model": "lenet",
        "recipe": {"epochs": 4, "lr": 0.03},
        "runs": [
            {
                "seed": 0,
                "validation_accuracy": [0.96, 0.98, 0.988, 0.99],
                "validation_loss": [0.2, 0.1, 0.05, 0.04],
            },
            {
                "seed": 1,
                "validation_accuracy": [0.94, 0.97, 0.984, 0.99],
                "validation_loss": [0.3, 0.1, 0.06, 0.04],
            },
        ],
    }
]


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(convergence, "_measured", lambda: MEASURED)


def test_arrivals_are_probabilities_of_the_first_epoch_that_reaches():
    curve = Curve((math.log(0.2), math.log(0.1), math.log(0.05)), (0.05, 0.05, 0.05), "test")
    arrivals = curve.arrivals(Target("accuracy", 0.9))
    assert arrivals[0] == pytest.approx(0.0, abs=1e-6)
    assert arrivals[1] == pytest.approx(0.5, abs=0.02)  # the expected error is the threshold
    assert sum(arrivals) == pytest.approx(1.0, abs=1e-3)


def test_a_target_beyond_the_curve_has_no_chance():
    curve = Curve((math.log(0.2), math.log(0.1)), (0.05, 0.05), "test")
    assert sum(curve.arrivals(Target("accuracy", 0.99))) < 1e-6


def test_a_run_that_goes_worse_than_expected_loses_chance():
    curve = Curve((math.log(0.2), math.log(0.1)), (0.1, 0.1), "test")
    target = Target("accuracy", 0.9)
    assert curve.arrivals(target, [0.75])[1] < 0.2 < curve.arrivals(target, [0.8])[1]
    assert curve.arrivals(target, [0.85])[1] > 0.8
    assert curve.arrivals(target, [0.75])[0] == 0.0


def test_preset_curve_is_the_geometric_mean_of_its_runs(measured):
    recipe = read_recipe(["data=mnist", "model=lenet", "epochs=4", "lr=0.03", "seed=7"])
    curve = expected_curve(recipe, "accuracy")
    assert curve is not None
    assert math.exp(curve.log_errors[0]) == pytest.approx(math.sqrt(0.04 * 0.06))
    assert curve.sigmas[3] == convergence.LEAST_SIGMA


def test_a_seed_that_was_measured_is_expected_to_go_much_as_it_went(measured):
    def of(seed):
        words = ["data=mnist", "model=lenet", "epochs=4", "lr=0.03", f"seed={seed}"]
        curve = expected_curve(read_recipe(words), "accuracy")
        assert curve is not None
        return curve

    better, worse, unknown = of(0), of(1), of(7)
    assert math.log(0.04) < better.log_errors[0] < unknown.log_errors[0]
    assert unknown.log_errors[0] < worse.log_errors[0] < math.log(0.06)
    assert better.sigmas[0] < unknown.sigmas[0]
    assert "seed" in better.source
    assert "seed" not in unknown.source


def test_a_changed_recipe_widens_the_curve_and_says_so(measured):
    preset = read_recipe(["data=mnist", "model=lenet", "epochs=4", "lr=0.03"])
    changed = read_recipe(["data=mnist", "model=lenet", "epochs=4", "lr=0.1"])
    before, after = expected_curve(preset, "accuracy"), expected_curve(changed, "accuracy")
    assert before is not None
    assert after is not None
    assert after.sigmas[3] > before.sigmas[3]
    assert "lr" in after.source


def test_a_longer_run_is_read_at_the_same_share_of_its_schedule(measured):
    recipe = read_recipe(["data=mnist", "model=lenet", "epochs=8", "lr=0.03"])
    curve = expected_curve(recipe, "accuracy")
    assert curve is not None
    assert len(curve.log_errors) == 8
    assert math.exp(curve.log_errors[7]) == pytest.approx(0.01)
    assert math.exp(curve.log_errors[3]) == pytest.approx(math.sqrt(0.02 * 0.03))


def test_nothing_is_expected_of_an_unknown_pair(measured):
    assert expected_curve(read_recipe(["data=mnist", "model=vgg11"]), "accuracy") is None
