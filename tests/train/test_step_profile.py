from time import sleep

import pytest
import torch
from torch import nn

from tests.train.jobs import digits, recipe_of
from traintime.architecture import network_for
from traintime.data.augment import make_augmentation
from traintime.data.catalogue import find
from traintime.data.prepare import prepare
from traintime.data.resident import ResidentBatches
from traintime.errors import InputError
from traintime.hardware.execution import Execution
from traintime.models.build import build
from traintime.train import op_profile
from traintime.train.op_profile import DISPATCH, OpTime, measure_ops, named_layers
from traintime.train.phase_marks import (
    AVERAGE,
    BACKWARD,
    CHECKS,
    DATA,
    FORWARD,
    OPTIMIZER,
    PENALTIES,
    Stamps,
)
from traintime.train.step_profile import ProfiledJob, StepTimes, WatchedSteps, measure_steps


def steps_of(device: str = "cpu", **fields: object) -> WatchedSteps:
    recipe = recipe_of(**fields)
    facts = find(recipe.data)
    prepared = prepare(digits(), recipe, facts)
    torch.manual_seed(recipe.seed)
    module = build(network_for(recipe, facts.shape, facts.num_classes)).to(device)
    batches = ResidentBatches(
        prepared.train,
        recipe.batch_size,
        device,
        prepared.mean,
        prepared.std,
        augmentation=make_augmentation(recipe),
    )
    execution = Execution(device, "fp32", "contiguous")
    return WatchedSteps(ProfiledJob(recipe, execution, module, batches, len(prepared.train)), {})


def test_phases_sum_to_the_time_of_the_steps():
    steps = steps_of()
    steps.take(3, Stamps("cpu"))
    stamps = Stamps("cpu")
    steps.take(5, stamps)
    taken, marks = stamps.steps(), stamps._marks
    assert len(taken) == 5
    assert sum(sum(step.values()) for step in taken) == pytest.approx(marks[-1][1] - marks[0][1])


def test_every_phase_of_a_plain_step_is_seen():
    phases = measure_steps(steps_of(), 4).phases_s
    assert list(phases) == [DATA, FORWARD, BACKWARD, CHECKS, OPTIMIZER]


def test_clipping_penalties_and_average_are_phases_of_their_own():
    phases = measure_steps(steps_of(grad_clip=1.0, l2=1e-4, ema=0.9), 4).phases_s
    assert list(phases) == [DATA, FORWARD, BACKWARD, PENALTIES, CHECKS, OPTIMIZER, AVERAGE]


def test_micro_batches_go_forward_and_backward_in_turn():
    stamps = Stamps("cpu")
    steps_of(accumulate=4).take(1, stamps)
    marks = [phase for phase, _ in stamps._marks]
    assert marks.count(BACKWARD) == marks.count(FORWARD) == 4


def test_profiled_weights_stay_what_they_are():
    steps = steps_of(weight_decay=0.1, optimizer="adamw")
    before = [parameter.detach().clone() for parameter in steps.job.module.parameters()]
    steps.take(10, Stamps("cpu"))
    for old, new in zip(before, steps.job.module.parameters(), strict=True):
        torch.testing.assert_close(old, new, atol=1e-8, rtol=1e-6)


def test_slow_batches_are_seen_as_data(monkeypatch: pytest.MonkeyPatch):
    steps = steps_of()
    batch = steps.job.batches.batch

    def slow(i: int):
        sleep(0.05)
        return batch(i)

    monkeypatch.setattr(steps.job.batches, "batch", slow)
    times = measure_steps(steps, 4)
    assert times.phases_s[DATA] > 0.5 * times.step_s


def test_weights_that_are_no_numbers_are_named():
    steps = steps_of()
    with torch.no_grad():
        next(steps.job.module.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="cannot be taken: the loss is nan"):
        steps.take(1, Stamps("cpu"))


def test_backward_is_as_it_was_after_profiling():
    before = torch.autograd.backward
    measure_steps(steps_of(), 2)
    assert torch.autograd.backward is before


Seen = tuple[StepTimes, tuple[OpTime, ...], list[nn.Module]]


@pytest.fixture(scope="module")
def seen() -> Seen:
    """Times and operations of a step, and the layers of its network."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(op_profile, "MOST_STEPS", 3)
        steps = steps_of()
        layers = [layer for _, layer in named_layers(steps.job.module)]
        times = measure_steps(steps, 10)
        return times, measure_ops(steps, layers, times), layers


def test_operations_and_dispatch_sum_to_each_phase(seen: Seen):
    times, ops, _ = seen
    for phase, seconds in times.phases_s.items():
        of_phase = sum(op.seconds for op in ops if op.phase == phase)
        assert of_phase == pytest.approx(seconds, rel=1e-6)


def test_operations_know_their_layer_forward_and_backward(seen: Seen):
    _, ops, layers = seen
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            own = {op.phase: op.name for op in ops if op.layer == number and "convol" in op.name}
            assert own[FORWARD] != own[BACKWARD] == "aten::convolution_backward"
    losses = [op for op in ops if "nll_loss" in op.name]
    assert losses
    assert all(op.layer is None for op in losses)


def test_each_call_of_a_step_counts_once(seen: Seen):
    _, ops, layers = seen
    calls = [op.calls for op in ops if op.name == "aten::convolution_backward"]
    assert calls == pytest.approx([1.0] * sum(isinstance(layer, nn.Conv2d) for layer in layers))


def test_a_residual_part_stands_behind_its_branches():
    recipe = recipe_of(data="cifar10", model="resnet18")
    module = build(network_for(recipe, (3, 32, 32), 10))
    places = [place for place, _ in named_layers(module)]
    assert places.index("3") > places.index("3.body.0")
    assert not any(isinstance(layer, nn.Flatten) for _, layer in named_layers(module))


@pytest.mark.gpu
def test_on_a_gpu_phases_are_its_own_time_and_dispatch_is_where_it_waits():
    steps = steps_of("cuda:0")
    times = measure_steps(steps, 20)
    ops = measure_ops(steps, [layer for _, layer in named_layers(steps.job.module)], times)
    assert sum(op.seconds for op in ops) == pytest.approx(times.step_s, rel=1e-3)
    assert sum(op.seconds for op in ops if op.name == DISPATCH) > 0.2 * times.step_s
