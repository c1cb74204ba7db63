import math
import time
from dataclasses import replace

import numpy as np
import pytest

from traintime.clock import learning_curve
from traintime.clock.curve_hypotheses import SAME_TRAINER, by_trainer, noise_prior, wobbles_of
from traintime.clock.curve_prediction import (
    ACCURACY,
    LOSS,
    Aims,
    CurvePrediction,
    Expected,
    Scale,
)
from traintime.clock.curve_shapes import (
    UNKNOWN_EXCESSES,
    Shapes,
    annealing,
    classical_shapes,
    over_fall,
)
from traintime.clock.learning_curve import TRAINER, Constants, forecaster

EPOCHS = range(1, 101)
NOISE = np.random.default_rng(1).standard_normal(100)


def predict(values, *, ahead=None, scale=LOSS, planned=100.0, epochs=EPOCHS, **known):
    """Predict from one value per epoch so far to the last epoch."""
    seen = len(values)
    ahead = list(epochs)[seen:] if ahead is None else ahead
    return forecaster().predict(list(epochs)[:seen], values, ahead, scale, planned=planned, **known)


def power_law(epoch, noise=0.0):
    return 2.0 * epoch**-0.5 * math.exp(noise * NOISE[epoch - 1])


def cosine(progress):
    return (1 + math.cos(math.pi * progress)) / 2


def plateau(epoch):
    return 0.5 + 1.5 * math.exp(-epoch / 3) + 0.002 * NOISE[epoch - 1]


def test_a_power_law_at_a_constant_rate_arrives_where_it_should():
    prediction = predict([power_law(e) for e in EPOCHS[:50]], rate=lambda _: 1.0)
    assert prediction.arrival(power_law(75)) == pytest.approx(75, rel=0.1)
    assert prediction.chance(power_law(75)) > 0.8
    assert prediction.final().median == pytest.approx(power_law(100), rel=0.05)


def test_probabilities_are_of_first_arrivals_and_sum_to_the_chance():
    prediction = predict([power_law(e, 0.02) for e in EPOCHS[:25]])
    arrivals = prediction.arrivals(power_law(90))
    assert len(arrivals) == 75
    assert all(0 <= p <= 1 for p in arrivals)
    assert sum(arrivals) <= 1 + 1e-9
    assert sum(arrivals) == pytest.approx(prediction.chance(power_law(90)))


def test_a_harder_target_is_later_and_less_likely():
    prediction = predict([power_law(e, 0.02) for e in EPOCHS[:25]])
    near, far = power_law(40), power_law(90)
    assert prediction.chance(near) > prediction.chance(far)
    assert prediction.arrival(near) < prediction.arrival(far)


def test_a_schedule_that_still_anneals_promises_more_than_a_constant_rate():
    values = [power_law(e, 0.01) for e in EPOCHS[:40]]
    annealed = predict(values, rate=cosine).final().median
    constant = predict(values, rate=lambda _: 1.0).final().median
    unknown = predict(values).final()
    assert annealed < constant
    assert unknown.low < constant
    assert unknown.high > annealed


def test_a_sampled_schedule_says_what_its_function_says():
    values = [power_law(e, 0.01) for e in EPOCHS[:40]]
    sampled = [cosine(n / 2_000) for n in range(2_001)]
    by_function = predict(values, rate=cosine).final().median
    assert predict(values, rate=sampled).final().median == pytest.approx(by_function, rel=1e-3)


def test_a_plateau_at_a_constant_rate_leaves_little_chance():
    prediction = predict([plateau(e) for e in EPOCHS[:60]], rate=lambda _: 1.0)
    assert prediction.chance(0.4) < 0.2
    assert prediction.arrival(0.4) == math.inf


def test_noise_widens_the_band():
    quiet = predict([power_law(e, 0.001) for e in EPOCHS[:50]], rate=lambda _: 1.0).final()
    noisy = predict([power_law(e, 0.1) for e in EPOCHS[:50]], rate=lambda _: 1.0).final()
    assert noisy.high / noisy.low > 1.2 * quiet.high / quiet.low


def test_more_of_the_run_narrows_the_band():
    early, late = (predict([power_law(e, 0.01) for e in EPOCHS[:n]]).final() for n in (10, 80))
    assert late.high / late.low < early.high / early.low


def test_a_target_that_was_reached_is_certain_and_has_no_arrival_ahead():
    prediction = predict([power_law(e) for e in EPOCHS[:50]])
    assert prediction.chance(power_law(30)) == 1.0
    assert sum(prediction.arrivals(power_law(30))) == 0.0


def test_an_accuracy_is_better_when_larger():
    values = [1 - power_law(e, 0.02) / 4 for e in EPOCHS[:50]]
    prediction = predict(values, scale=ACCURACY, rate=lambda _: 1.0)
    low, median, high = prediction.band()
    assert np.all(low <= median)
    assert np.all(median <= high)
    assert np.all(high < 1)
    assert median[-1] > values[-1]
    assert prediction.chance(values[-1] + 0.005) > prediction.chance(values[-1] + 0.03)


def test_a_percentage_and_a_share_are_told_the_same():
    shares = [1 - power_law(e, 0.02) / 4 for e in EPOCHS[:50]]
    as_share = predict(shares, scale=ACCURACY).final().median
    percent = predict([100 * s for s in shares], scale=Scale(True, 100.0)).final().median
    assert percent == pytest.approx(100 * as_share, rel=0.01)


def test_a_metric_without_a_bound_counts_in_ratios():
    scale = Scale(larger_is_better=True)
    prediction = predict([1 / power_law(e, 0.02) for e in EPOCHS[:50]], scale=scale)
    assert prediction.final().median > 1 / power_law(50)
    with pytest.raises(ValueError, match=r"has to be positive, but is -1\. Give Scale"):
        predict([2.0, -1.0], scale=scale)


def test_two_evaluations_give_a_wide_forecast():
    prediction = predict([2.0, 1.4])
    final = prediction.final()
    assert math.isfinite(final.low)
    assert final.high / final.low > 1.5
    assert 0 < prediction.chance(0.3) < 1


def test_no_evaluation_falls_back_to_what_is_expected():
    means = [math.log(power_law(e)) for e in EPOCHS]
    expected = Expected(list(EPOCHS), means, [0.05] * 100)
    prediction = forecaster().predict([], [], list(EPOCHS), LOSS, 100.0, expected=expected)
    assert prediction.final().median == pytest.approx(power_law(100), rel=0.1)
    assert prediction.arrival(power_law(60)) == pytest.approx(60, rel=0.2)


def test_what_is_expected_sharpens_few_evaluations_and_gives_way_to_many():
    means = [math.log(power_law(e)) for e in EPOCHS]
    expected = Expected(list(EPOCHS), means, [0.05] * 100)
    few = [power_law(e, 0.01) for e in EPOCHS[:3]]
    told, alone = (predict(few, expected=e).final() for e in (expected, None))
    assert told.high / told.low < alone.high / alone.low
    stuck = predict([plateau(e) for e in EPOCHS[:60]], rate=lambda _: 1.0, expected=expected)
    assert stuck.final().median > 2 * power_law(100)


def test_without_a_plan_the_evaluations_alone_tell():
    values = [power_law(e, 0.005) for e in EPOCHS[:40]]
    prediction = predict(values, planned=None)
    assert prediction.final().median < values[-1]
    assert prediction.chance(power_law(60)) > 0.5


def test_values_that_are_not_finite_are_left_out():
    values = [power_law(e, 0.02) for e in EPOCHS[:50]]
    holed = [
        math.nan if n in (10, 11) else math.inf if n == 30 else v for n, v in enumerate(values)
    ]
    final = predict(holed).final()
    assert final.median == pytest.approx(predict(values).final().median, rel=0.1)


@pytest.mark.parametrize(
    ("positions", "values", "ahead", "planned", "message"),
    [
        ([1, 2], [1.0], [3], 3.0, "2 positions do not fit 1 values"),
        ([1, 2], [1.0, 0.9], [], 3.0, "No evaluation is ahead"),
        ([2, 1], [1.0, 0.9], [3], 3.0, "have to ascend"),
        ([1, 2], [1.0, 0.9], [2], 3.0, "have to ascend"),
        ([1, math.nan], [1.0, 0.9], [3], 3.0, "have to ascend"),
        ([1, 2], [1.0, 0.9], [3], 0.0, "has to be positive, but is 0.0"),
        ([], [], [3], None, "`planned` has to say how long the run is"),
    ],
)
def test_what_does_not_fit_is_refused(positions, values, ahead, planned, message):
    with pytest.raises(ValueError, match=message):
        forecaster().predict(positions, values, ahead, LOSS, planned)


def test_the_same_evaluations_say_the_same_again():
    values = [power_law(e, 0.02) for e in EPOCHS[:25]]
    assert predict(values).arrivals(0.25) == predict(values).arrivals(0.25)


@pytest.mark.parametrize("planned", [1000.0, None])
def test_an_update_takes_less_than_50_ms(planned):
    positions = list(range(1, 1001))
    values = [2.0 * e**-0.5 for e in positions[:500]]

    def once():  # in the processor's time, which other work on the machine does not stretch
        began = time.process_time()
        prediction = forecaster().predict(
            positions[:500], values, positions[500:], LOSS, planned, rate=cosine
        )
        prediction.arrivals(0.05)
        return time.process_time() - began

    once()  # reads the file
    assert min(once() for _ in range(5)) < 0.05


def test_a_shape_is_held_beyond_the_plan():
    progress = np.array([0.1, 0.5, 1.0])
    shapes = Shapes(progress, np.array([[3.0, 2.0, 1.0]]), np.full((1, 3), np.nan), np.ones(1))
    assert shapes.at(np.array([[0.0, 0.3, 2.0]])).tolist() == [[[3.0, 2.5, 1.0]]]


def test_shapes_fall_by_one():
    progress = np.array([0.05, 0.1, 0.5, 1.0])
    fallen = over_fall(progress, np.array([[9.0, 3.0, 2.0, 1.0]]))
    assert fallen[0, 1] - fallen[0, 3] == pytest.approx(1.0)


def test_a_wider_spread_keeps_the_median():
    values = [power_law(e, 0.02) for e in EPOCHS[:25]]
    shapes = forecaster().shapes
    narrow, wide = (
        learning_curve.CurveForecaster(shapes, Constants(widening=(w,) * 4))
        .predict(list(EPOCHS[:25]), values, [50, 100], LOSS, 100.0)
        .final()
        for w in (1.0, 2.0)
    )
    assert narrow.median == pytest.approx(wide.median)
    assert math.log(wide.high / wide.low) == pytest.approx(2 * math.log(narrow.high / narrow.low))


@pytest.mark.parametrize(("seen", "tail"), [(5, 0.1), (10, 0.2), (25, 0.16), (60, 0.14)])
def test_what_an_interval_of_arrivals_leaves_out_goes_by_the_share_of_the_plan(seen, tail):
    known = learning_curve.CurveForecaster(
        forecaster().shapes, Constants(tails=(0.1, 0.2, 0.16, 0.14))
    )
    values = [power_law(e) for e in EPOCHS[:seen]]
    prediction = known.predict(list(EPOCHS[:seen]), values, [90, 100], LOSS, 100.0)
    assert prediction.tail == pytest.approx(tail)


def test_a_target_that_no_future_reaches_is_put_at_the_end():
    prediction = predict([plateau(e) for e in EPOCHS[:60]])
    assert prediction.chance(1e-5) == 0.0
    assert prediction.arrival_if_any(1e-5) == 100.0


def test_targets_are_taken_to_be_late_ones():
    values = [power_law(e, 0.02) for e in EPOCHS[:10]]
    shapes = forecaster().shapes
    any_time, late = (
        learning_curve.CurveForecaster(shapes, Constants(lateness=power, strays=0.01)).predict(
            list(EPOCHS[:10]), values, list(EPOCHS[10:]), LOSS, 100.0
        )
        for power in (0.0, 2.0)
    )
    target = power_law(40)
    assert late.arrival_if_any(target, 0.3) > any_time.arrival_if_any(target, 0.3)


@pytest.mark.parametrize(("seen", "arrives"), [(10, 15), (10, 30), (25, 30), (25, 40)])
def test_a_curve_that_is_about_to_cross_an_early_target_is_believed(seen, arrives):
    prediction = predict([power_law(e) for e in EPOCHS[:seen]])
    target = power_law(arrives)
    assert prediction.arrival_if_any(target) == pytest.approx(arrives, rel=0.1)
    assert prediction.chance(target) > 0.8


def test_the_more_targets_are_chosen_blindly_the_more_the_curve_alone_is_believed():
    epochs, target = range(1, 21), 0.9  # it is passed at the 8th of 20 epochs
    values = [1 - 0.5 * n**-0.8 for n in epochs[:5]]
    shapes, constants = forecaster().shapes, Constants(lateness=2.0, closeness=0.03)
    said = [
        learning_curve.CurveForecaster(shapes, replace(constants, strays=strays))
        .predict(epochs[:5], values, epochs[5:], ACCURACY, 20.0)
        .arrival_if_any(target)
        for strays in (0.01, 0.2, 1.0)
    ]
    assert said[0] > said[2]
    assert said == sorted(said, reverse=True)
    assert said[2] == pytest.approx(8, abs=1)


def test_the_spread_of_what_is_expected_is_its_own_before_the_run():
    means = [math.log(power_law(e)) for e in EPOCHS]
    narrow, wide = (
        forecaster()
        .predict([], [], list(EPOCHS), LOSS, 100.0, expected=Expected(EPOCHS, means, [s] * 100))
        .final(0.5)
        for s in (0.02, 0.2)
    )
    assert math.log(narrow.high / narrow.low) < 0.1
    assert math.log(wide.high / wide.low) > 0.2


def test_a_wild_curve_promises_no_accuracy_below_zero():
    log_errors = np.array([[3.0], [0.1], [-1.0]])
    wild = CurvePrediction(np.array([9.0]), log_errors, math.inf, ACCURACY)
    assert wild.final().low == 0.0
    assert wild.final().high < 1.0


def learned_by_heart(epoch):
    return 0.2 + 0.8 * math.exp(-epoch / 6) + 0.002 * NOISE[epoch - 1]


def test_a_curve_that_is_flat_at_a_falling_rate_is_taken_to_stay_nearly_so():
    prediction = predict([learned_by_heart(e) for e in EPOCHS[:50]], rate=lambda u: 1 - u)
    assert 0.17 < prediction.final().median < 0.21


def test_a_fall_is_expected_where_the_runs_own_rate_falls():
    values = [power_law(e, 0.05) for e in EPOCHS[:40]]
    early, late = (
        predict(values, rate=lambda u, at=at: 1.0 if u < at else 0.1).band()[1][20]
        for at in (0.45, 0.8)
    )  # of epoch 61
    assert early < 0.9 * late


def test_the_excess_of_a_rate_is_none_at_its_end_and_all_at_its_peak():
    progress, rate = np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.5, 0.0])
    shapes = classical_shapes(progress, rate)
    assert shapes.excesses.min() == 0.0
    assert np.allclose(shapes.excesses[-1], np.log1p(6.4 * rate))
    assert shapes.weights.sum() == pytest.approx(1.0)


def test_a_warm_up_takes_no_noise_away():
    assert annealing(np.array([0.1, 0.6, 1.0, 0.5, 0.0])).tolist() == [1.0, 1.0, 1.0, 0.5, 0.0]


def test_every_usual_schedule_is_tried_where_none_is_known():
    progress = np.linspace(0.0, 1.0, 41)
    excesses = np.unique(classical_shapes(progress, None).excesses, axis=0)
    assert len(excesses) == 1 + 5 * len(UNKNOWN_EXCESSES)


def test_a_target_is_likely_where_a_future_comes_to_late_in_its_plan():
    aims = Aims(np.array([0.2, 0.8]), gained_from=1.5, closeness=0.1, strays=0.25)
    bests = np.array([[1.0, 0.5]])  # a gain of 1: the target's deviation is 0.1
    peak = 0.75 / (0.1 * math.sqrt(2 * math.pi))
    assert aims.density(0.5, bests)[0] == pytest.approx(0.8 * peak + 0.25, rel=1e-4)
    assert aims.density(1.0, bests)[0] == pytest.approx(0.2 * peak + 0.25, rel=1e-4)
    assert aims.density(-9.0, bests)[0] == pytest.approx(0.25)


def test_a_target_that_no_future_would_have_been_given_tells_nothing_of_them():
    aims = Aims(np.array([0.2, 0.8]), gained_from=1.5, closeness=0.1, strays=0.25)
    likely = aims.density(-9.0, np.array([[1.0, 0.5], [1.4, 1.3], [-1.0, -2.0]]))
    assert likely == pytest.approx(likely[0])


def test_a_target_tells_of_a_future_in_which_it_would_have_been_chosen():
    bold, timid = [0.9, 0.0, -1.0], [0.95, 0.9, 0.5]  # both reach 0.5: on the way, and at the end
    paths, at = np.array([bold, timid]), np.array([1.0, 2.0, 3.0])
    aims = Aims(np.array([0.1, 0.3, 0.6]), gained_from=1.0, closeness=0.05, strays=0.01)
    told = CurvePrediction(at, paths, 1.0, Scale(False), aims)
    alone = CurvePrediction(at, paths, 1.0, Scale(False))
    target = math.exp(0.5)
    assert alone.arrivals(target) == [0.0, 0.5, 0.5]
    assert told.arrivals(target)[2] > 0.95
    assert sum(told.arrivals(target)) == pytest.approx(1.0)


def test_a_target_tells_of_its_chance_too():
    passes, falls_short = [0.9, 0.48], [0.9, 0.8]  # the target, 0.5, is where the one ends
    paths, at = np.array([passes, falls_short]), np.array([1.0, 2.0])
    aims = Aims(np.array([0.3, 0.7]), gained_from=1.0, closeness=0.05, strays=0.2)
    assert CurvePrediction(at, paths, 1.0, LOSS).chance(math.exp(0.5)) == pytest.approx(0.5)
    assert CurvePrediction(at, paths, 1.0, LOSS, aims).chance(math.exp(0.5)) > 0.8


def test_an_easy_target_is_as_likely_as_the_curve_alone_says():
    goes_on, stays = [0.4, -1.0], [0.49, 0.49]  # both pass 0.5, where few would have aimed in one
    paths, at = np.array([goes_on, stays, [0.9, 0.51]]), np.array([1.0, 2.0])
    aims = Aims(np.array([0.1, 0.9]), gained_from=1.0, closeness=0.05, strays=0.01)
    assert CurvePrediction(at, paths, 1.0, LOSS, aims).chance(math.exp(0.5)) == pytest.approx(2 / 3)


def test_a_run_goes_as_others_of_its_trainer_as_likely_as_not():
    weights = by_trainer(np.array([0.1, 0.1, 0.6, 0.2]), np.array([0, 1]))
    assert weights[:2].sum() == pytest.approx(SAME_TRAINER)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[2] == pytest.approx(3 * weights[3])


@pytest.mark.parametrize("alike", [[], [0, 1, 2]])
def test_a_trainer_of_whom_nothing_or_most_is_known_changes_nothing(alike):
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    assert by_trainer(weights, np.array(alike, dtype=int)).tolist() == weights.tolist()


def test_a_flat_run_of_ours_is_not_taken_to_fall_as_the_rate_does():
    values = [1 - learned_by_heart(e) for e in EPOCHS[:25]]
    ours, anybodys = (
        predict(values, scale=ACCURACY, rate=cosine, trainer=trainer).final().median
        for trainer in (TRAINER, None)
    )
    actual = 1 - learned_by_heart(100)
    assert abs(ours - actual) < abs(anybodys - actual)


def test_futures_are_many_where_evaluations_ahead_are_few():
    values = [power_law(e) for e in EPOCHS[:5]]
    few, many = (predict(values, ahead=list(range(6, n))) for n in (101, 1006))
    assert len(few.log_errors) == 2_000
    assert len(many.log_errors) == 500


def test_a_share_of_few_samples_varies_and_a_loss_tells_nothing_of_samples():
    accuracies = [0.8, 0.85, 0.89, 0.9, 0.9]  # steps of 0.01: of 100 samples
    by_hand = math.sqrt(0.89 / (0.11 * 100))  # 11 of them wrong
    assert ACCURACY.sampling_noise(accuracies) == pytest.approx(by_hand)
    percent = Scale(larger_is_better=True, bound=100.0)
    assert percent.sampling_noise([100 * a for a in accuracies]) == pytest.approx(by_hand)
    assert LOSS.sampling_noise(accuracies) == 0.0


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5], [1.0, 1.0, 1.0]])
def test_values_without_a_step_tell_nothing_of_samples(values):
    assert ACCURACY.sampling_noise(values) == 0.0


def test_more_noise_of_updates_makes_validations_wobble_more():
    none, some, most = wobbles_of(np.log1p([[0.0, 0.0], [0.4, 0.8], [3.2, 6.4]]))
    assert none == 0.0
    assert 0.0 < some < most


def test_a_wobble_is_likely_under_the_noise_that_makes_it_and_says_nothing_of_unknown_ones():
    noises, wobbles = np.array([0.002, 0.12]), np.array([0.001, 0.1, math.nan])
    quiet, restless = np.exp(noise_prior(noises, wobbles, sampling=0.0005))
    assert quiet[0] > 1 > quiet[1]
    assert restless[1] > 1 > restless[0]
    assert quiet[2] == restless[2] == pytest.approx(1.0)
    assert quiet + restless == pytest.approx(2.0)


def wobbling(noise):
    """Return a loss that stands still but for its noise, which a falling rate may take away."""
    return [math.exp(noise * NOISE[n]) for n in range(40)]


def test_a_curve_that_wobbles_is_expected_to_fall_further_as_the_rate_does():
    still, restless = (predict(wobbling(n), rate=cosine).final().median for n in (0.002, 0.1))
    assert restless < 0.9 * still


def test_a_wobble_that_few_samples_make_tells_nothing_of_the_updates():
    noises, wobbles = np.array([0.002, 0.03, 0.12]), np.array([0.0, 0.001, 0.02])
    found = noise_prior(noises, wobbles, sampling=0.3)
    assert np.ptp(found, axis=1).max() < 0.01
