from pathlib import Path
from typing import Any

import pytest

import traintime.api.demo as demo_module
from traintime.api.listener import Listener
from traintime.data import fetch
from traintime.errors import DataUnavailableError


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, line: str) -> None:
        self.heard.append(line)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no network and no MNIST."""
    load_raw = fetch.load_raw

    def load(name: str, say: Any) -> fetch.RawImages:
        if name == "mnist":
            raise DataUnavailableError("MNIST is not on this machine")
        return load_raw(name, say)

    monkeypatch.setattr(fetch, "load_raw", load)


def test_without_network_digits_take_the_place_of_mnist_in_one_line(
    offline: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {**demo_module.WITHOUT_NETWORK, "device": "cpu", "precision": "fp32"}
    monkeypatch.setattr(demo_module, "WITHOUT_NETWORK", quick)
    ear = Ear()
    result = demo_module.demo(listener=ear)
    assert len(ear.heard) == 1
    assert "MNIST cannot be fetched without a network" in ear.heard[0]
    assert "1,797" in ear.heard[0]
    assert result.status == "target reached"
    assert result.test.accuracy > 0.9
    assert result.report.is_file()


def test_demo_is_lenet_on_mnist_to_99_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(fetch, "load_raw", lambda name, say: None)
    monkeypatch.setattr(demo_module, "train", lambda listener, **fields: asked.append(fields))
    demo_module.demo()
    assert asked == [{"data": "mnist", "model": "lenet", "target": "accuracy:0.99"}]
