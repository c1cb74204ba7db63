import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from traintime.errors import InputError
from traintime.train.pilot import (
    LEAST_STEPS,
    WARM_STEPS,
    Pilot,
    PilotJob,
    _materialised,
    _start_memory,
    run_pilot,
)
from traintime.workload.captured_step import default_loss


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 4))


def job(**changes: Any) -> PilotJob:
    plain = PilotJob(
        batch_size=4,
        accumulate=1,
        optimizer="sgd",
        precision="fp32",
        device="cpu",
        channels_last=False,
        compiled=False,
    )
    return PilotJob(**{**vars(plain), **changes})


def run(module: nn.Module, steps: int = 6, **changes: Any) -> Pilot:
    return run_pilot(module, ((torch.zeros(4, 3, 8, 8),), {}), default_loss, job(**changes), steps)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "amp", "half"])
def test_every_way_to_train_can_be_tried(optimizer: str, precision: str):
    pilot = run(network(), optimizer=optimizer, precision=precision, channels_last=True)
    assert len(pilot.steps_s) == 6
    assert all(0 < seconds < 5 for seconds in pilot.steps_s)


def test_the_first_steps_do_not_count():
    pilot = Pilot((9.0, 5.0, 4.0, 1.0, 3.0, 2.0), None)
    assert WARM_STEPS == 3
    assert pilot.counted_s == (1.0, 3.0, 2.0)
    assert pilot.step_s == 2.0


def test_the_module_is_left_as_it_was():
    module = network().eval()
    before = copy.deepcopy(module.state_dict())
    random_state = torch.get_rng_state()
    run(module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not module.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_module_without_values_is_given_some():
    with torch.device("meta"):
        module = network()
    assert len(run(module).steps_s) == 6
    assert next(module.parameters()).is_meta


def test_micro_batches_are_so_many_forwards():
    calls: list[int] = []

    class Counting(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return super().forward(x)

    run_pilot(Counting(3, 2), ((torch.randn(4, 3),), {}), default_loss, job(accumulate=3), 5)
    assert calls == [4] * 15


def test_memory_of_large_activations_is_seen():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.weight).exp().sum()

    mebibytes = 64
    batch = torch.ones(4, mebibytes * 2**20 // 16)
    pilot = run_pilot(Wide(), ((batch,), {}), lambda out: out, job(), 5)
    assert pilot.peak_bytes is not None
    # what the heap had left before is not seen
    assert 2 * mebibytes - 1 <= pilot.peak_bytes / 2**20 <= 8 * mebibytes


def test_long_steps_end_the_pilot_early(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(run_pilot.__globals__, "LONGEST_S", -math.inf)
    assert len(run(network(), steps=50).steps_s) == LEAST_STEPS


def test_a_step_that_fails_is_explained():
    with pytest.raises(InputError, match=r"A real step of the model failed on cpu: .*pilot="):
        run(nn.Linear(5, 2))


def test_weights_that_are_one_stay_one_when_they_are_given_values():
    with torch.device("meta"):
        module = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(8, 50, bias=False))
        module[2].weight = module[0].weight
    made = _materialised(module, "cpu")
    assert made[0].weight is made[2].weight
    assert sum(parameter.numel() for parameter in made.parameters()) == 400


def test_parts_that_are_frozen_stay_so():
    module = network().train()
    module[1].eval()
    before = module[1].running_mean.clone()
    run(module)
    assert not module[1].training
    assert torch.equal(module[1].running_mean, before)


def test_the_memory_of_a_gpu_that_nothing_was_done_on_yet_can_be_told(
    monkeypatch: pytest.MonkeyPatch,
):
    done: list[str] = []

    def reset(device: str) -> None:
        assert done == ["init"], "torch knows no allocator before that"

    monkeypatch.setattr(torch.cuda, "init", lambda: done.append("init"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7)
    assert _start_memory(job(device="cuda:0")) == 7
