import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from traintime.data import catalogue, fetch, sources
from traintime.data.catalogue import DataFacts, Source
from traintime.data.formats import Parts
from traintime.data.sources import SourceError
from traintime.recipe import Recipe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no memory of hosts that another test found silent."""
    monkeypatch.setenv("TRAINTIME_HOME", str(tmp_path))
    monkeypatch.setattr(sources, "_refused_hosts", [])
    return tmp_path


def some_images(num_train: int, num_test: int, shape: tuple[int, int, int], seed: int = 0) -> Parts:
    """Images of noise; the classes 0, 1 and 2 stand 3 : 2 : 1."""
    random = np.random.default_rng(seed)
    channels, height, width = shape
    parts: Parts = {}
    for part, count in (("train", num_train), ("test", num_test)):
        size = (count, height, width, channels)
        parts[f"{part}_images"] = random.integers(0, 256, size, np.uint8)
        parts[f"{part}_labels"] = np.array([0, 0, 0, 1, 1, 2], np.uint8)[np.arange(count) % 6]
    return parts


def facts_of(parts: Parts, shape: tuple[int, int, int], name: str = "tiny") -> DataFacts:
    return DataFacts(
        name=name,
        title=name.title(),
        shape=shape,
        classes=("a", "b", "c"),
        train_samples=len(parts["train_labels"]),
        test_samples=len(parts["test_labels"]),
        licence="CC0",
        attribution="nobody",
        sha256={part: hashlib.sha256(array.tobytes()).hexdigest() for part, array in parts.items()},
        sources=(
            Source("first place", "https", "idx", ("https://one.invalid/a",)),
            Source("second place", "npm", "idx", ("two@1",)),
        ),
    )


@dataclass
class FakeSources:
    """Gives out what a test has put at each place, and notes who was asked."""

    facts: DataFacts
    places: dict[str, Parts | Exception]
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def obtain(self, source: Source, facts: DataFacts, folder: Path) -> Parts:
        self.asked.append(source.title)
        given = self.places[source.title]
        if isinstance(given, Exception):
            raise given
        return dict(given)

    def load(self) -> fetch.RawImages:
        return fetch.load_raw(self.facts.name, self.said.append)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> FakeSources:
    """A data set of 60 + 12 images that only the second place has."""
    parts = some_images(60, 12, (1, 4, 5))
    facts = facts_of(parts, (1, 4, 5))
    fake = FakeSources(facts, {"first place": SourceError("not reachable"), "second place": parts})
    monkeypatch.setitem(catalogue.DATA_SETS, facts.name, facts)
    monkeypatch.setattr(fetch, "obtain", fake.obtain)
    return fake


@pytest.fixture
def recipe_with() -> Callable[..., Recipe]:
    def make(**values: object) -> Recipe:
        return Recipe.model_validate(
            {"data": "mnist", "model": "mlp", "batch_size": 4} | dict(values)
        )

    return make


@pytest.fixture
def noise() -> Callable[..., tuple[DataFacts, fetch.RawImages]]:
    """Make a data set in memory."""

    def make(
        num_train: int = 600,
        num_test: int | None = 60,
        shape: tuple[int, int, int] = (3, 4, 5),
    ) -> tuple[DataFacts, fetch.RawImages]:
        parts = some_images(num_train, num_test or 6, shape)
        facts = replace(facts_of(parts, shape), test_samples=num_test)
        raw = fetch.RawImages(
            parts["train_images"],
            parts["train_labels"],
            parts["test_images"] if num_test else None,
            parts["test_labels"] if num_test else None,
            "noise",
        )
        return facts, raw

    return make
