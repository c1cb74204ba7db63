"""How large data sets are that forecasts know and nothing here can fetch: `known_sizes.toml`.

This module imports neither torch nor numpy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from traintime.data.catalogue import DATA_SETS, DataFacts, find
from traintime.errors import InputError, UnknownNameError
from traintime.recipe.data_folder import fold_name, folder_named_by, table_named_by

Unit = Literal["images", "samples", "tokens"]


@dataclass(frozen=True)
class KnownSize:
    """How much there is of a data set.

    Args:
        name: As it is typed in `data=NAME`.
        title: As it is written in text.
        unit: What is counted.
        train: In the part that is trained on.
        validation: In the part that is watched; 0 if there is none.
        shape: (C, H, W), if all images have the same.
        source: Where the figures stand.
        made_of: What a sample is: "images", "tokens", "sentences" or "recordings".
    """

    name: str
    title: str
    unit: Unit
    train: int
    validation: int
    shape: tuple[int, ...] | None
    source: str
    made_of: str = "images"

    @property
    def is_text(self) -> bool:
        """Whether its samples are numbers of words to a model."""
        return self.made_of in ("tokens", "sentences")

    def samples(self, sequence_length: int) -> tuple[int, int]:
        """Return training and validation samples.

        Args:
            sequence_length: Tokens of one sample; matters where tokens are counted.
        """
        if self.unit != "tokens":
            return self.train, self.validation
        return self.train // sequence_length, self.validation // sequence_length


def find_size(name: str) -> KnownSize:
    """Return how much there is of a data set.

    Args:
        name: Its name; capitals, '-', '_' and spaces do not matter. Or the path of a folder of
            images.

    Raises:
        UnknownNameError: Nothing is known of one of that name.
        InputError: The folder is none of images by class.
    """
    if table_named_by(name):
        raise InputError(
            f"'{name}' is a table, which this model does not take. Type model=mlp and label=, and "
            "leave input= out"
        )
    if folder_named_by(name):
        return _of_ours(find(name))
    size = _by_name().get(fold_name(name))
    if size is None:
        known = {size.name for size in _by_name().values()}
        raise UnknownNameError(
            "data set", name, known, "`traintime data` lists them; for others say samples=50000"
        )
    return size


@cache
def _by_name() -> dict[str, KnownSize]:
    text = files("traintime.data").joinpath("known_sizes.toml").read_text(encoding="utf-8")
    by_name = {fold_name(name): _of_ours(facts) for name, facts in DATA_SETS.items()}
    for name, table in tomllib.loads(text).items():
        size = _read(name, table)
        by_name |= {fold_name(other): size for other in (name, *_other_names(table))}
    return by_name


def _other_names(table: dict[str, Any]) -> Iterator[str]:
    yield from table.get("other_names", ())


def _read(name: str, table: dict[str, Any]) -> KnownSize:
    return KnownSize(
        name=name,
        title=table["title"],
        unit=table["unit"],
        train=table["train"],
        validation=table.get("validation", 0),
        shape=tuple(table["shape"]) if "shape" in table else None,
        source=table["source"],
        made_of=table.get("made_of", table["unit"]),
    )


def _of_ours(facts: DataFacts) -> KnownSize:
    """Return one that our trainer has: whole, with its held-out part to validate on."""
    return KnownSize(
        name=facts.name,
        title=facts.title,
        unit="images",
        train=facts.train_samples,
        validation=facts.validation_samples or facts.test_samples or 0,
        shape=None if facts.folder else facts.shape,
        source=facts.attribution or f"counted in {facts.folder}",
    )
