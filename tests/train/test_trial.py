from pathlib import Path

import pytest
import torch

from traintime.train.stepper import Stepper
from traintime.train.trial import time_steps

from .jobs import STEPS_PER_EPOCH, make_job


def test_steps_are_timed_on_whole_batches_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taken: list[int] = []
    take = Stepper.take

    def noted(self, progress, position, lr):
        taken.append(position)
        return take(self, progress, position, lr)

    monkeypatch.setattr(Stepper, "take", noted)
    job = make_job(tmp_path)
    parts = job.module, job.batches, job.recipe, job.execution
    timing = time_steps(*parts, budget_s=0.01, most_steps=50)
    assert 3 <= timing.calls <= 50
    assert 0 < timing.low_s <= timing.median_s <= timing.high_s
    assert len(taken) == timing.calls + 2  # the first two warm up
    assert set(taken) <= set(range(STEPS_PER_EPOCH - 1))


def test_weights_stay_as_they_are(tmp_path: Path):
    job = make_job(tmp_path)
    before = {name: p.detach().clone() for name, p in job.module.named_parameters()}
    parts = job.module, job.batches, job.recipe, job.execution
    time_steps(*parts, budget_s=0.01, most_steps=50)
    for name, parameter in job.module.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name], rtol=1e-6, atol=1e-8)
