"""What a process does before it trains on a GPU, where there is none to do it on."""

import pytest
import torch

from traintime.api import session


def test_the_peak_of_a_gpu_is_reset_although_nothing_was_done_on_it_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    initialised, reset = [], []

    def as_torch_does(device: str) -> None:
        if not initialised:
            raise RuntimeError("Invalid device argument 0: did you call init?")
        reset.append(device)

    monkeypatch.setattr(torch.cuda, "init", lambda: initialised.append(True))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", as_torch_does)
    session._start_peak_anew("cpu")
    assert initialised == []
    session._start_peak_anew("cuda:1")
    assert reset == ["cuda:1"]
