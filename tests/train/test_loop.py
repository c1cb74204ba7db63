import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from traintime.errors import DivergedError, StorageError
from traintime.train.checkpoints import load_latest
from traintime.train.loop import Loop
from traintime.train.records import Validation
from traintime.train.schedules import learning_rate
from traintime.train.signals import StopRequest

from .jobs import STEPS, STEPS_PER_EPOCH, StopAt, Witness, make_job, train, validations

MLP = {"model": "mlp", "hidden": (8,)}
EXACT = {**MLP, "optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "schedule": "constant"}
"""Plain gradient descent: parameters move by exactly the gradient."""


def first_batch(job: Any) -> tuple[Tensor, Tensor]:
    job.batches.start_epoch(0)
    return job.batches.batch(0)


def gradient_of_first_step(folder: Path, **fields: Any) -> tuple[Loop, Tensor]:
    """Return what the optimizer is given in the first step, penalties and clipping included."""
    loop = Loop(make_job(folder, **{**EXACT, "warmup": 0.0, **fields}), [], StopRequest())
    before = loop.stepper.parameters.values.clone()
    loop._step(0)
    return loop, before - loop.stepper.parameters.values


def test_step_computes_the_gradient_of_the_mean_loss(tmp_path: Path) -> None:
    _, gradient = gradient_of_first_step(tmp_path)
    job = make_job(tmp_path, **EXACT)
    images, labels = first_batch(job)
    F.cross_entropy(job.module(images), labels).backward()
    for parameter in job.module.parameters():
        assert parameter.grad is not None
    expected = [p.grad.flatten() for p in job.module.parameters() if p.ndim == 2]
    expected += [p.grad.flatten() for p in job.module.parameters() if p.ndim == 1]
    assert torch.allclose(gradient, torch.cat(expected), atol=1e-6)


@pytest.mark.parametrize("micro_batches", [2, 3, 64])
def test_accumulation_gives_the_gradient_of_the_whole_batch(
    micro_batches: int, tmp_path: Path
) -> None:
    _, whole = gradient_of_first_step(tmp_path)
    _, accumulated = gradient_of_first_step(tmp_path, accumulate=micro_batches)
    assert torch.allclose(whole, accumulated, atol=1e-6)


def test_accumulation_reports_the_loss_of_the_whole_batch(tmp_path: Path) -> None:
    losses = []
    for count in (1, 3):
        loop = Loop(make_job(tmp_path, **EXACT, accumulate=count), [], StopRequest())
        losses.append(float(loop._step(0)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_clipping_bounds_the_norm_and_keeps_the_direction(tmp_path: Path) -> None:
    _, free = gradient_of_first_step(tmp_path)
    bound = float(free.norm()) / 3
    _, clipped = gradient_of_first_step(tmp_path, grad_clip=bound)
    assert float(clipped.norm()) == pytest.approx(bound, rel=1e-4)
    assert float(F.cosine_similarity(free, clipped, dim=0)) == pytest.approx(1.0)


def test_clipping_leaves_small_gradients_alone(tmp_path: Path) -> None:
    _, free = gradient_of_first_step(tmp_path)
    _, clipped = gradient_of_first_step(tmp_path, grad_clip=1e3)
    assert torch.equal(free, clipped)


@pytest.mark.parametrize(("l1", "l2"), [(0.01, 0.0), (0.0, 0.02), (0.01, 0.02)])
def test_penalties_add_their_gradient_on_matrices_alone(
    l1: float, l2: float, tmp_path: Path
) -> None:
    _, free = gradient_of_first_step(tmp_path)
    loop, penalised = gradient_of_first_step(tmp_path, l1=l1, l2=l2)
    start = Loop(make_job(tmp_path, **EXACT), [], StopRequest()).stepper.parameters.values
    # d/dw of l1 |w| + l2/2 w²
    penalty = l1 * start.sign() + l2 * start
    penalty[loop.stepper.parameters.num_decayed :] = 0
    assert torch.allclose(penalised - free, penalty, atol=1e-6)


def test_label_smoothing_spreads_a_share_over_all_classes(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, **EXACT, label_smoothing=0.2), [], StopRequest())
    images, labels = first_batch(loop.job)
    log_p = loop.job.module(images).log_softmax(1)
    wanted = torch.full_like(log_p, 0.2 / 10)
    wanted[torch.arange(len(labels)), labels] += 0.8
    by_hand = -(wanted * log_p).sum(1).mean()
    assert torch.allclose(loop.stepper.loss(images, labels), by_hand)


def test_optimizer_is_given_the_schedules_rate_and_the_number_of_each_step(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, **MLP, epochs=2), [], StopRequest())
    given: list[tuple[float, int]] = []
    loop.stepper.optimizer.step = lambda lr, number: given.append((lr, number))  # type: ignore[method-assign]
    loop.run()
    expected = [learning_rate(loop.recipe, step, STEPS_PER_EPOCH) for step in range(10)]
    assert given == list(zip(expected, range(1, 11), strict=True))


def test_each_epoch_sees_every_sample_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, **MLP, epochs=2), [], StopRequest())
    seen: list[Tensor] = []
    batch = loop.job.batches.batch
    loop.job.batches.batch = lambda i: seen.append((images := batch(i))[0]) or images  # type: ignore[method-assign]
    loop.run()
    first, second = torch.cat(seen[:STEPS_PER_EPOCH]), torch.cat(seen[STEPS_PER_EPOCH:])
    assert len(first) == len(second) == 300
    assert not torch.equal(first, second)
    by_sum = [part.flatten(1).sum(1).sort().values for part in (first, second)]
    assert torch.allclose(*by_sum, atol=1e-4)


def test_average_follows_the_weights_by_its_decay(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, **EXACT, ema=0.2), [], StopRequest())
    expected = loop.stepper.parameters.values.clone()
    for position, decay in enumerate((1 / 10, 2 / 11, 0.2)):  # young, it follows more closely
        loop._step(position)
        loop.progress.step += 1
        expected = decay * expected + (1 - decay) * loop.stepper.parameters.values
    assert loop.stepper.average is not None
    assert torch.allclose(loop.stepper.average, expected, atol=1e-6)


def test_average_is_what_is_validated_and_what_is_left(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def judge(module: torch.nn.Module, batch: int) -> Validation:
        seen.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
        return Validation(1.0, 0.5)

    loop, _ = train(make_job(tmp_path, judge, **MLP, ema=0.9, epochs=1))
    assert loop.stepper.average is not None
    assert torch.equal(loop.stepper.parameters.values, loop.stepper.average)
    left = torch.cat([p.detach().flatten() for p in loop.job.module.parameters()])
    assert torch.equal(seen[-1], left)


def test_training_goes_on_from_the_weights_and_not_from_their_average(tmp_path: Path) -> None:
    with_average, _ = train(make_job(tmp_path, **MLP, ema=0.9))
    without, _ = train(make_job(tmp_path, **MLP))
    assert with_average.stepper.optimizer.state.keys() == without.stepper.optimizer.state.keys()
    for name, slot in with_average.stepper.optimizer.state.items():
        assert torch.equal(slot, without.stepper.optimizer.state[name])


def test_run_trains_every_epoch_and_learns(tmp_path: Path) -> None:
    witness = Witness()
    _, outcome = train(make_job(tmp_path, epochs=8), witness)
    assert (outcome.status, outcome.epochs, outcome.steps) == ("finished", 8, 8 * STEPS_PER_EPOCH)
    assert witness.starts[0].total_steps == 8 * STEPS_PER_EPOCH
    assert witness.epochs[-1].validation_accuracy > 0.8
    assert witness.epochs[-1].train_loss < witness.epochs[0].train_loss
    assert witness.ends == ["finished"]


def test_records_count_steps_and_time_upwards(tmp_path: Path) -> None:
    witness = Witness()
    _, outcome = train(make_job(tmp_path), witness)
    steps = [record.step for record in witness.steps]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS
    assert [record.step for record in witness.epochs] == [5, 10, 15, 20]
    elapsed = [record.elapsed_s for record in witness.steps]
    assert elapsed == sorted(elapsed)
    assert sum(outcome.seconds.values()) <= witness.epochs[-1].elapsed_s
    assert all(record.step_time_s > 0 for record in witness.steps)


def test_epochs_training_loss_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    witness = Witness()
    loop = Loop(make_job(tmp_path, **MLP, epochs=1), [witness], StopRequest())
    losses: list[float] = []
    step = loop._step
    loop._step = lambda position: losses.append(float(loss := step(position))) or loss  # type: ignore[method-assign]
    loop.run()
    assert witness.epochs[0].train_loss == pytest.approx(math.fsum(losses) / STEPS_PER_EPOCH)


def test_target_ends_the_run_and_is_timed(tmp_path: Path) -> None:
    judge = validations(Validation(2.0, 0.3), Validation(1.0, 0.9), Validation(1.0, 0.95))
    witness = Witness()
    job = make_job(tmp_path, judge, **MLP, target="accuracy:0.9")
    _, outcome = train(job, witness)
    assert (outcome.status, outcome.epochs) == ("target reached", 2)
    assert outcome.time_to_target_s == witness.epochs[-1].elapsed_s


def test_loss_target_is_reached_from_above(tmp_path: Path) -> None:
    judge = validations(Validation(2.0, 0.99), Validation(0.4, 0.1))
    _, outcome = train(make_job(tmp_path, judge, **MLP, target="loss:0.5"))
    assert (outcome.status, outcome.epochs) == ("target reached", 2)


def test_missed_target_has_no_time(tmp_path: Path) -> None:
    _, outcome = train(make_job(tmp_path, **MLP, target="accuracy:1", epochs=1))
    assert (outcome.status, outcome.time_to_target_s) == ("finished", None)


ACCURACIES = [0.5, 0.7, 0.69, 0.7, 0.9]


def test_who_listens_may_end_the_run_and_say_why(tmp_path: Path) -> None:
    class Hopeless(Witness):
        def stop_reason(self) -> str:
            return "no hope" if len(self.epochs) == 2 else ""

    _, outcome = train(make_job(tmp_path, **MLP, epochs=9), Hopeless())
    assert (outcome.status, outcome.reason, outcome.epochs) == ("stopped early", "no hope", 2)
    _, outcome = train(make_job(tmp_path, **MLP, epochs=2), Hopeless())
    assert (outcome.status, outcome.reason) == ("finished", "")


def test_early_stopping_waits_its_patience(tmp_path: Path) -> None:
    judge = validations(*(Validation(1.0, accuracy) for accuracy in ACCURACIES))
    _, outcome = train(make_job(tmp_path, judge, **MLP, epochs=10, patience=2))
    assert (outcome.status, outcome.epochs) == ("stopped early", 4)
    assert outcome.reason == "accuracy was no better for 2 epochs (patience=2)"


def test_early_stopping_counts_only_improvements_beyond_the_least_change(tmp_path: Path) -> None:
    judge = validations(*(Validation(loss, 0.5) for loss in (1.0, 0.95, 0.91, 0.85)))
    fields = {"epochs": 10, "patience": 2, "min_delta": 0.1, "monitor": "loss"}
    _, outcome = train(make_job(tmp_path, judge, **MLP, **fields))
    assert (outcome.status, outcome.epochs) == ("stopped early", 3)


@pytest.mark.parametrize("extra", [{}, {"ema": 0.5}], ids=["weights", "average"])
def test_early_stopping_restores_the_best_model_with_its_batch_statistics(
    extra: dict[str, Any], tmp_path: Path
) -> None:
    accuracies = iter([0.5, 0.9, 0.8, 0.7])
    judged: list[dict[str, Tensor]] = []

    def judge(module: torch.nn.Module, batch: int) -> Validation:
        judged.append({name: t.clone() for name, t in module.state_dict().items()})
        return Validation(1.0, next(accuracies))

    fields = {"batch_norm": True, "epochs": 10, "patience": 2, **extra}
    loop, outcome = train(make_job(tmp_path, judge, **fields))
    assert (outcome.status, outcome.epochs) == ("stopped early", 4)
    left = loop.job.module.state_dict()
    assert [name for name in left if not torch.equal(left[name], judged[1][name])] == []


def test_diverging_names_the_step_and_what_to_type(tmp_path: Path) -> None:
    job = make_job(tmp_path, optimizer="sgd", lr=1e9, warmup=0.0)
    with pytest.raises(DivergedError, match=r"at step \d+: the loss is .*lr=0\.05") as raised:
        train(job)
    assert 1 < raised.value.step <= STEPS_PER_EPOCH


def test_step_that_diverged_is_the_first_that_is_not_finite(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path), [], StopRequest())
    step = loop._step

    def broken(position: int) -> Tensor:
        loss = step(position)
        return loss * float("inf") if loop.progress.step >= 6 else loss  # the seventh

    loop._step = broken  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="step 7: the loss is inf") as raised:
        loop.run()
    assert raised.value.step == 7


def test_diverging_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, checkpoint_every_s=0), [], StopRequest())
    step = loop._step
    loop._step = lambda position: (
        step(position)
        * (  # type: ignore[method-assign]
            float("nan") if loop.progress.step == 12 else 1.0
        )
    )
    with pytest.raises(DivergedError, match=r"last good checkpoint is '.*step-0000"):
        loop.run()
    checkpoint = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert checkpoint is not None
    assert checkpoint.state["step"] < 13
    assert checkpoint.tensors["parameters"].isfinite().all()


def test_last_update_that_breaks_the_weights_does_not_pass_for_a_finished_run(
    tmp_path: Path,
) -> None:
    """Its loss was finite, being taken before the update; only the validation can tell."""
    loop = Loop(make_job(tmp_path, epochs=1), [], StopRequest())
    step = loop._step

    def broken(position: int) -> Tensor:
        loss = step(position)
        if position == STEPS_PER_EPOCH - 1:
            loop.stepper.parameters.values.mul_(float("nan"))
        return loss

    loop._step = broken  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="step 5: the validation loss is nan"):
        loop.run()


def test_broken_weights_are_not_saved(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path), [], StopRequest())
    loop.stepper.parameters.values[3] = float("inf")
    with pytest.raises(DivergedError, match="a weight is no longer finite"):
        loop.save()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_full_disk_lets_the_run_go_on_and_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of training are worth more than the next checkpoint."""
    witness = Witness()
    loop = Loop(make_job(tmp_path, checkpoint_every_s=0), [witness], StopRequest())
    loop.save()
    monkeypatch.setattr("os.fsync", _refuse)
    assert loop.run().status == "finished"
    said = [event for event in witness.events if event.kind == "checkpoint failed"]
    assert "the last good one is of step 0): The disk is full" in said[0].message
    assert "df -h" in said[0].message
    checkpoint = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert checkpoint is not None
    assert checkpoint.state["step"] == 0


def test_full_disk_is_an_error_for_a_run_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopAt(3)
    stop.loop = loop = Loop(make_job(tmp_path), [], stop)
    monkeypatch.setattr("os.fsync", _refuse)
    with pytest.raises(StorageError, match=r"disk is full.*df -h"):
        loop.run()


def _refuse(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_bf16_computes_in_bf16_and_keeps_fp32_weights(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, precision="bf16"), [], StopRequest())
    kinds: list[torch.dtype] = []
    loop.job.module[0].register_forward_hook(lambda _m, _i, output: kinds.append(output.dtype))
    loss = loop._step(0)
    assert kinds == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert loop.stepper.parameters.values.dtype == torch.float32


def test_channels_last_reaches_the_convolutions(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path, model="resnet9", train_samples=64), [], StopRequest())
    layouts: list[bool] = []
    convolution = next(m for m in loop.job.module.modules() if isinstance(m, torch.nn.Conv2d))
    convolution.register_forward_hook(
        lambda _m, _i, output: layouts.append(
            output.is_contiguous(memory_format=torch.channels_last)
        )
    )
    images, labels = first_batch(loop.job)
    loop.stepper.loss(images[:4], labels[:4])
    assert layouts == [True]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path: Path) -> None:
    weights = [
        train(make_job(tmp_path, **MLP, epochs=1, seed=seed))[0].stepper.parameters.values
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
