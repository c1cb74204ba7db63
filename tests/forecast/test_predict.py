import dataclasses
import json
import math
from dataclasses import replace
from importlib.resources import files

import pytest

from traintime.api.job import read_job
from traintime.errors import InputError
from traintime.forecast.correction import Correction
from traintime.forecast.predict import SETUP_S, forecast_job, plan_job
from traintime.forecast.time_budget import fitting_epochs
from traintime.forecast.trial import Trial
from traintime.hardware.profile import HardwareProfile


@pytest.fixture(scope="module")
def profile() -> HardwareProfile:
    text = files("traintime.hardware").joinpath("reference_cpu.json").read_text("utf-8")
    return HardwareProfile.from_json(json.loads(text))


def forecast(profile: HardwareProfile, *words: str):
    job = read_job(None, dict(word.split("=") for word in words))
    plan = plan_job(job.recipe, job.network, job.sizes, "cpu", profile)
    return plan, forecast_job(job.recipe, plan, profile, 0.0)


@pytest.mark.parametrize("model", ["mlp", "lenet", "resnet9", "resnet18", "vgg11"])
@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_every_shipped_pair_has_a_forecast(profile, model, data):
    _, answer = forecast(profile, f"data={data}", f"model={model}")
    assert 0 < answer.total_s.low < answer.total_s.median < answer.total_s.high
    assert answer.peak_memory_bytes.median > 2**28
    assert sum(part.share for part in answer.step_by_kind) == pytest.approx(1.0)


def test_auto_takes_the_fastest_and_says_what_it_beat(profile):
    plan, answer = forecast(profile, "data=mnist", "model=lenet")
    fixed = [
        forecast(profile, "data=mnist", "model=lenet", f"precision={p}", f"convolution={c}")[0]
        for p in ("fp32", "bf16")
        for c in ("native", "fused")
    ]
    assert plan.step.seconds == pytest.approx(min(other.step.seconds for other in fixed))
    assert any(pick.startswith("precision: ") for pick in answer.picks)


def test_what_the_user_fixed_is_not_changed(profile):
    plan, _ = forecast(
        profile,
        "data=mnist",
        "model=lenet",
        "precision=fp32",
        "convolution=native",
        "memory_format=contiguous",
    )
    assert str(plan.execution) == "cpu, fp32, contiguous"
    assert plan.picks == ()


def test_a_guessed_profile_keeps_full_precision_and_is_wider(profile):
    guessed = profile.scaled_to(dataclasses.replace(profile.machine, cores=8))
    plan, wide = forecast(guessed, "data=mnist", "model=mlp")
    _, narrow = forecast(profile, "data=mnist", "model=mlp")
    assert plan.execution.precision == "fp32"
    assert wide.step_time_s.sigma > 3 * narrow.step_time_s.sigma
    assert "scaled" in wide.assumptions[0]


def test_more_epochs_take_proportionally_longer(profile):
    _, one = forecast(profile, "data=cifar10", "model=resnet18", "epochs=1")
    _, ten = forecast(profile, "data=cifar10", "model=resnet18", "epochs=10")
    assert ten.stages_s["train"].median == pytest.approx(10 * one.stages_s["train"].median)


def test_fused_convolutions_are_refused_where_there_are_none(profile):
    with pytest.raises(InputError, match="convolution=native"):
        forecast(profile, "data=cifar10", "model=resnet18", "convolution=fused")


def test_the_target_is_unknown_without_earlier_runs(profile):
    _, answer = forecast(profile, "data=cifar10", "model=vgg11", "target=accuracy:0.8")
    assert answer.time_to_target_s is None
    assert answer.total_s == answer.time_to_end_s
    assert any("no run of vgg11 on cifar10" in line for line in answer.assumptions)


def test_a_correction_stretches_the_training_stage_alone_and_narrows_it(profile):
    measured = dataclasses.replace(profile, evidence="measured on this machine")
    fields = {"data": "cifar10", "model": "resnet18", "epochs": 4, "precision": "fp32"}
    job = read_job(None, fields)
    plan = plan_job(job.recipe, job.network, job.sizes, "cpu", measured)
    before = forecast_job(job.recipe, plan, measured, 0.0)
    correction = Correction(1.25, 0.08, 4, "2 of this job")
    after = forecast_job(job.recipe, plan, measured, 0.0, correction)
    assert after.step_time_s.median == pytest.approx(1.25 * before.step_time_s.median)
    assert after.step_time_s.sigma == pytest.approx(0.08)
    train = after.stages_s["train"]
    assert train.median == pytest.approx(1.25 * before.stages_s["train"].median)
    for stage in ("prepare", "validate", "evaluate"):
        assert after.stages_s[stage] == before.stages_s[stage]
    assert sum(kind.seconds for kind in after.step_by_kind) == pytest.approx(
        1.25 * plan.step.seconds
    )
    assert after.bound_by == before.bound_by
    assert after.total_s.sigma < before.total_s.sigma
    assert after.uncorrected_step_s == pytest.approx(before.step_time_s.median)
    assert "corrected by × 1.25 for 4 finished runs here (2 of this job)" in after.assumptions


def test_without_a_correction_nothing_is_said_of_one(profile):
    _, answer = forecast(profile, "data=mnist", "model=lenet")
    assert not any("corrected" in line for line in answer.assumptions)
    assert answer.uncorrected_step_s == answer.step_time_s.median


@pytest.mark.parametrize(
    ("left_s", "epochs"), [(0.0, 0.0), (4.0, 0.0), (11.0, 0.5), (16.0, 1.0), (28.0, 2.0)]
)
def test_as_many_epochs_fit_as_their_validations_leave_time_for(left_s: float, epochs: float):
    assert fitting_epochs(left_s, 100, 0.1, 2.0, 4.0) == pytest.approx(epochs)


def test_a_budget_is_used_to_its_end(profile):
    _, answer = forecast(profile, "data=mnist", "model=lenet", "budget=60s")
    assert answer.total_s.median == answer.total_s.high == 60
    assert 55 < answer.total_s.low < 59.4  # of a run that keeps it something is left
    assert sum(stage.median for stage in answer.stages_s.values()) == pytest.approx(60, rel=0.01)
    assert any("the learning rate follows the time" in line for line in answer.assumptions)
    _, longer = forecast(profile, "data=mnist", "model=lenet", "budget=2m")
    assert longer.epochs == pytest.approx(2 * answer.epochs, rel=0.15)


def test_epochs_that_are_given_are_the_most(profile):
    _, plain = forecast(profile, "data=mnist", "model=lenet", "epochs=2")
    _, answer = forecast(profile, "data=mnist", "model=lenet", "epochs=2", "budget=10m")
    assert answer.epochs == 2
    assert answer.total_s == plain.total_s


def test_a_target_may_come_before_the_deadline(profile):
    _, answer = forecast(profile, "data=mnist", "model=lenet", "budget=10m", "target=accuracy:0.98")
    assert answer.total_s.median < 300
    assert answer.time_to_target_s is not None


def test_a_budget_for_no_step_is_refused_with_the_least_that_works(profile):
    with pytest.raises(InputError, match=r"not one step of lenet.*Type budget=(\d+)s") as refusal:
        forecast(profile, "data=mnist", "model=lenet", "budget=0.2s")
    least = str(refusal.value).rsplit("budget=", 1)[1].split()[0]
    _, answer = forecast(profile, "data=mnist", "model=lenet", f"budget={least}")
    assert answer.epochs == 1


def test_a_part_of_an_epoch_is_said_to_be_one(profile):
    _, answer = forecast(profile, "data=cifar10", "model=resnet18", "budget=2m")
    (line,) = [line for line in answer.assumptions if "follows the time" in line]
    assert line.endswith("% of one epoch")
    assert answer.total_s.high == 120
    _, bounded = forecast(profile, "data=cifar10", "model=resnet18", "budget=2m", "epochs=1")
    assert bounded.total_s == answer.total_s


def test_confidence_asks_for_more_than_the_target(profile):
    words = ["data=mnist", "model=lenet", "target=accuracy:0.99"]
    _, plain = forecast(profile, *words)
    _, sure = forecast(profile, *words, "confidence=0.95")
    assert plain.chance_of_target is not None
    assert sure.chance_of_target is not None
    assert sure.chance_of_target < plain.chance_of_target
    with pytest.raises(InputError, match=r"Not even 3,000 validation samples"):
        forecast(profile, "data=mnist", "model=lenet", "target=accuracy:0.9999", "confidence=0.99")


def test_no_interval_reaches_beyond_the_deadline(profile):
    _, answer = forecast(profile, "data=mnist", "model=lenet", "budget=20s", "target=accuracy:0.99")
    assert answer.total_s.high <= 20
    assert answer.time_to_target_s is None or answer.time_to_target_s.high <= 20


def test_tried_steps_say_how_fast_the_machine_is_now_and_what_has_passed(profile):
    measured = replace(profile, evidence="measured on this machine")
    job = read_job(None, {"data": "mnist", "model": "lenet", "target": "accuracy:0.99"})
    plan = plan_job(job.recipe, job.network, job.sizes, "cpu", measured)
    trial = Trial(elapsed_s=3.0, step_s=2 * plan.step.seconds, num_steps=12)
    before = forecast_job(job.recipe, plan, measured, 1.0)
    after = forecast_job(job.recipe, plan, measured, 3.0, trial=trial)
    assert after.step_time_s.median == pytest.approx(2 * before.step_time_s.median)
    assert after.stages_s["train"].median == pytest.approx(2 * before.stages_s["train"].median)
    judged = before.stages_s["validate"].median
    assert after.stages_s["validate"].median == pytest.approx(2 * judged)
    assert after.stages_s["prepare"].median == pytest.approx(3.0 + SETUP_S)
    assert after.uncorrected_step_s == pytest.approx(before.step_time_s.median)
    assert after.evidence == "run on this machine"


def test_on_a_machine_that_is_shared_a_forecast_is_wider_and_says_so(profile):
    measured = replace(profile, evidence="measured on this machine")
    job = read_job(None, {"data": "mnist", "model": "lenet"})
    plan = plan_job(job.recipe, job.network, job.sizes, "cpu", measured)
    shared = replace(measured, unsteadiness=0.2)
    steady, unsteady = (forecast_job(job.recipe, plan, m, 0.0) for m in (measured, shared))
    assert unsteady.step_time_s.sigma == pytest.approx(math.hypot(0.13, 0.2))
    assert steady.step_time_s.sigma == pytest.approx(0.13)
    assert "its rates varied by 20 %" in unsteady.assumptions[0]
    assert "varied" not in steady.assumptions[0]
