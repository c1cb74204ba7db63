import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from traintime.train.loop import Loop
from traintime.train.signals import StopRequest
from traintime.train.stepper import UNUSUAL, USUAL_STEPS, Refused

from .faults import Calls, Faulty
from .jobs import Witness, make_job, state_of, train

EVERYTHING = {"batch_norm": True, "ema": 0.9, "dropout": 0.1}


def break_loss(loop: Loop, at: Any, by: float) -> None:
    loop.stepper.loss = Faulty(loop.stepper.loss, at, lambda loss: loss * by)  # type: ignore[method-assign]


def break_gradient(loop: Loop, at: Any, by: float) -> None:
    last = list(loop.job.module.parameters())[-2]
    last.register_hook(Faulty(lambda gradient: gradient, at, lambda gradient: gradient * by))


def break_images(loop: Loop, at: Any, by: float) -> None:
    def spoil(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        batch[0][0, 0, 0, 0] = by
        return batch

    loop.job.batches.batch = Faulty(loop.job.batches.batch, at, spoil)  # type: ignore[method-assign]


BREAKS = [break_loss, break_gradient, break_images]


def loop_after(steps: int, folder: Path, **fields: Any) -> Loop:
    """Return a loop that has taken its first steps."""
    loop = Loop(make_job(folder, **fields), [], StopRequest())
    loop.job.module.train()
    for position in range(steps):
        loop._take_step(position)
    return loop


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
@pytest.mark.parametrize("by", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("break_it", BREAKS)
def test_step_that_is_refused_changes_nothing(
    break_it: Callable[[Loop, Any, float], None], by: float, optimizer: str, tmp_path: Path
) -> None:
    """Neither weights nor optimizer, average or running statistics, to the bit."""
    loop = loop_after(3, tmp_path, **EVERYTHING, optimizer=optimizer)
    before = {name: tensor.clone() for name, tensor in loop.state.tensors().items()}
    break_it(loop, [1], by)
    refused = loop.stepper.take(loop.progress, 3, lr=0.1)
    assert isinstance(refused, Refused)
    assert not refused.is_finite
    after = loop.state.tensors()
    assert [name for name in after if not torch.equal(after[name], before[name])] == []
    assert not loop.stepper.parameters.gradient.any()


def test_step_after_one_that_was_refused_is_taken_as_usual(tmp_path: Path) -> None:
    loop = loop_after(3, tmp_path, **EVERYTHING)
    break_images(loop, [1], math.nan)
    loop._take_step(3)
    loop._take_step(4)
    assert (loop.progress.refused, loop.progress.step) == (1, 5)
    assert not loop.state.broken_part()


@pytest.mark.parametrize("break_it", BREAKS)
def test_run_with_a_broken_step_ends_finished_and_says_so(
    break_it: Callable[[Loop, Any, float], None], tmp_path: Path
) -> None:
    witness = Witness()
    loop = Loop(make_job(tmp_path, **EVERYTHING), [witness], StopRequest())
    break_it(loop, [7], math.nan)
    outcome = loop.run()
    assert (outcome.status, outcome.steps, loop.progress.refused) == ("finished", 20, 1)
    (event,) = witness.events
    assert event.kind == "not finite"
    assert event.message.startswith("Step 7 was not taken: the loss is")
    losses = [record.train_loss for record in witness.epochs]
    assert losses == sorted(losses, reverse=True)  # the refused one counts nowhere


def test_gradient_far_beyond_all_before_is_refused(tmp_path: Path) -> None:
    """A flipped bit of the exponent makes such a one, and it is finite."""
    witness = Witness()
    loop = Loop(make_job(tmp_path, epochs=6), [witness], StopRequest())
    break_gradient(loop, [USUAL_STEPS + 3], 2.0**64)
    loop.run()
    (event,) = witness.events
    assert event.message.startswith(f"Step {USUAL_STEPS + 3} was not taken: the gradient's norm is")


def test_first_gradients_say_what_is_usual_and_are_never_refused(tmp_path: Path) -> None:
    witness = Witness()
    loop = Loop(make_job(tmp_path, optimizer="adam"), [witness], StopRequest())
    break_gradient(loop, Calls(USUAL_STEPS), 10 * UNUSUAL)
    loop.run()
    assert not witness.events


HEALTHY: dict[str, dict[str, Any]] = {
    "sgd at the edge": {"optimizer": "sgd", "lr": 0.6, "warmup": 0.0},
    "adam at the edge": {"optimizer": "adam", "lr": 0.3},
    "muon at the edge": {"optimizer": "muon", "lr": 1.0},
    "tanh": {"optimizer": "sgd", "lr": 0.3, "hidden": (32,) * 4, "activation": "tanh"},
    "batch norm": {"model": "lenet", "optimizer": "sgd", "lr": 0.3, "batch_norm": True},
    "small batches": {"optimizer": "sgd", "lr": 0.1, "batch_size": 4, "epochs": 4},
}
"""Their losses rise up to 7 times above the first one, and 2 of 3 of them learn what they can."""


@pytest.mark.parametrize("name", HEALTHY)
def test_noisy_run_is_never_called_broken(name: str, tmp_path: Path) -> None:
    """It ends bit for bit like one that nobody looks at."""
    fields = {"model": "mlp", "batch_size": 32, "epochs": 12, **HEALTHY[name]}
    fields |= {"hidden": fields.get("hidden", (32,))} if fields["model"] == "mlp" else {}
    witness = Witness()
    looked_at, _ = train(make_job(tmp_path, **fields), witness)
    assert not witness.events
    alone = Loop(make_job(tmp_path, **fields), [], StopRequest())
    alone.progress.heeds_spikes = False
    alone.stepper._is_looked_at = False
    alone.stepper._before = None
    alone.run()
    ours, theirs = state_of(looked_at), state_of(alone)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
