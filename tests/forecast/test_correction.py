import math
import random
from dataclasses import replace

import pytest

from traintime.forecast.correction import (
    HUBER,
    RECENT_RUNS,
    RUN_SIGMA,
    Conditions,
    Correction,
    Pair,
    correct,
)

SIGMA = 0.13
BETWEEN = SIGMA**2 - RUN_SIGMA**2  # 0.0169 - 0.0049 = 0.0120
JOB = Conditions(
    machine="AMD EPYC x2",
    device="cpu",
    software="traintime 0.1.0, torch 2.9.1, rates 0123",
    model="lenet",
    data="mnist",
    execution="cpu, bf16, contiguous, fused",
    batch_size=256,
    parameters=61_706,
)
OTHER_BATCH = replace(JOB, batch_size=64)
OTHER_MODEL = replace(JOB, model="resnet9", parameters=6_500_000)


def run(ratio: float, under: Conditions = JOB, minute: int = 0) -> Pair:
    return Pair(under, 0.02, 0.02 * ratio, f"2026-11-20T08:{minute:02d}:00")


def error(factor: float, truth: float) -> float:
    return abs(factor / truth - 1)


def test_without_runs_the_tier_holds():
    assert correct(JOB, [], SIGMA) == Correction(1.0, pytest.approx(SIGMA), 0, "none of this job")
    assert Correction.none(SIGMA) == Correction(1.0, SIGMA, 0, "none of this job")


def test_one_run_of_the_job_is_shrunken_by_the_two_variances():
    found = correct(JOB, [run(1.1)], SIGMA)
    # log 1.1 = 0.0953; gain = 0.0120 / (0.0120 + 0.0049) = 0.710; exp(0.710 x 0.0953) = 1.070
    assert found.factor == pytest.approx(1.070, abs=5e-4)
    # what is left: 0.0120 x 0.290 = 0.00348; sqrt(0.00348 + 0.0049) = 0.0915
    assert found.sigma == pytest.approx(0.0915, abs=5e-5)
    assert (found.num_runs, found.of) == (1, "1 of this job")


def test_four_runs_count_by_the_variance_of_their_median():
    found = correct(JOB, [run(1.1) for _ in range(4)], SIGMA)
    # 0.0049 x pi / 8 = 0.00192; gain = 0.0120 / 0.01392 = 0.862; exp(0.862 x 0.0953) = 1.086
    assert found.factor == pytest.approx(1.086, abs=5e-4)
    assert found.sigma == pytest.approx(math.sqrt(0.0120 * 0.138 + 0.0049), abs=5e-5)


def test_a_run_of_the_model_counts_less_and_one_of_another_model_least():
    by_job, by_model, by_device = (
        correct(JOB, [run(1.1, under)], SIGMA) for under in (JOB, OTHER_BATCH, OTHER_MODEL)
    )
    # shared with the model: 0.5 x 0.0120 = 0.0060 of 0.0120 + 0.0049; gain 0.355
    assert by_model.factor == pytest.approx(math.exp(0.355 * math.log(1.1)), abs=5e-4)
    # shared with the device: 0.2 x 0.0120 = 0.0024; gain 0.142
    assert by_device.factor == pytest.approx(math.exp(0.142 * math.log(1.1)), abs=5e-4)
    assert by_job.sigma < by_model.sigma < by_device.sigma < SIGMA
    assert [c.of for c in (by_job, by_model, by_device)] == [
        "1 of this job",
        "1 of this model",
        "all of other models",
    ]


def test_the_jobs_own_runs_outweigh_all_others():
    others = [run(0.8, replace(JOB, batch_size=size)) for size in (32, 64, 128) for _ in range(5)]
    own = [run(1.2) for _ in range(10)]
    assert error(correct(JOB, [*others, *own], SIGMA).factor, 1.2) < 0.05


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"machine": "AMD EPYC x4"},
        {"device": "cuda:0"},
        {"software": "traintime 0.0.9, torch 2.9.1, rates 0123"},
    ],
    ids=str,
)
def test_other_machines_devices_and_versions_count_nothing(elsewhere: dict[str, str]):
    assert correct(JOB, [run(1.3, replace(JOB, **elsewhere))], SIGMA) == correct(JOB, [], SIGMA)


@pytest.mark.parametrize("truth", [0.6, 1.3, 3.0])
def test_ten_runs_bring_the_forecast_to_the_truth(truth: float):
    rng = random.Random(0)
    runs = [run(truth * math.exp(rng.gauss(0, 0.02))) for _ in range(10)]
    shrunken = truth ** (1 - 0.940)  # 0.0120 / (0.0120 + 0.0049 pi / 20) = 0.940
    assert error(correct(JOB, runs, SIGMA).factor * shrunken, truth) < 0.02
    if truth == 1.3:
        assert error(correct(JOB, runs, SIGMA).factor, truth) < 0.03


@pytest.mark.parametrize("under", [JOB, OTHER_BATCH, OTHER_MODEL], ids=["job", "model", "device"])
@pytest.mark.parametrize("quiet", [2, 3, 9])
def test_an_outlier_of_five_hardly_moves_it(quiet: int, under: Conditions):
    runs = [run(1.05, under) for _ in range(quiet)]
    without, with_it = correct(JOB, runs, SIGMA), correct(JOB, [*runs, run(5.0, under)], SIGMA)
    assert error(with_it.factor, without.factor) < 0.02


def test_an_outlier_of_another_recipe_hardly_moves_it():
    runs = [run(1.05) for _ in range(3)]
    without = correct(JOB, runs, SIGMA)
    for under in (OTHER_BATCH, OTHER_MODEL):
        assert error(correct(JOB, [*runs, run(5.0, under)], SIGMA).factor, without.factor) < 0.03


def test_a_single_run_pulls_no_harder_than_its_bound():
    # 1.345 x sqrt(0.0120 + 0.0049) x 0.710 = 0.124
    bound = math.exp(HUBER * SIGMA * BETWEEN / SIGMA**2)
    assert bound == pytest.approx(1.132, abs=1e-3)
    assert correct(JOB, [run(5.0)], SIGMA).factor == pytest.approx(bound)
    assert correct(JOB, [run(50.0)], SIGMA).factor == pytest.approx(bound)
    assert correct(JOB, [run(0.02)], SIGMA).factor == pytest.approx(1 / bound)


def test_a_run_that_is_not_believed_does_not_narrow_the_interval_much():
    usual, odd = correct(JOB, [run(1.1)], SIGMA), correct(JOB, [run(5.0)], SIGMA)
    assert usual.sigma < odd.sigma < SIGMA


def test_the_interval_never_gets_narrower_than_the_spread_between_runs():
    sigmas = [correct(JOB, [run(1.2)] * n, SIGMA).sigma for n in (0, 1, 2, 5, 10, 500)]
    assert sigmas == sorted(sigmas, reverse=True)
    assert RUN_SIGMA < sigmas[-1] < 1.1 * RUN_SIGMA
    assert correct(JOB, [run(1.2)], RUN_SIGMA / 2).sigma == RUN_SIGMA


def test_only_the_newest_runs_of_a_job_count():
    before = [run(2.0, minute=minute) for minute in range(30)]
    since = [run(1.1, minute=30 + minute) for minute in range(RECENT_RUNS)]
    found = correct(JOB, [*since, *before], SIGMA)
    assert found == correct(JOB, since, SIGMA)
    assert found.num_runs == RECENT_RUNS


def test_the_order_of_the_runs_is_of_no_account():
    runs = [
        run(0.8 + 0.1 * n, under) for n in range(9) for under in (JOB, OTHER_BATCH, OTHER_MODEL)
    ]
    shuffled = random.Random(1).sample(runs, len(runs))
    assert correct(JOB, shuffled, SIGMA) == correct(JOB, runs, SIGMA)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_time_is_left_out(seconds: float):
    pairs = [Pair(JOB, 0.02, seconds, "2026-11-20"), Pair(JOB, seconds, 0.02, "2026-11-20")]
    assert correct(JOB, pairs, SIGMA) == correct(JOB, [], SIGMA)


def test_repeated_runs_do_not_feed_back():
    """Each run is held against the uncorrected forecast, so the factor settles at the truth."""
    runs: list[Pair] = []
    for minute in range(40):
        correction = correct(JOB, runs, SIGMA)
        corrected_s = 0.02 * correction.factor
        runs.append(Pair(JOB, corrected_s / correction.factor, 0.026, f"T08:{minute:02d}"))
    assert error(correct(JOB, runs, SIGMA).factor, 1.3) < 0.02


def test_on_an_unsteady_machine_runs_say_less_and_promise_less():
    steady, unsteady = (correct(JOB, [run(1.3)], 0.3, u) for u in (0.0, 0.2))
    assert 1 < unsteady.factor < steady.factor
    assert unsteady.sigma > steady.sigma
    assert unsteady.sigma >= math.hypot(RUN_SIGMA, 0.2)
