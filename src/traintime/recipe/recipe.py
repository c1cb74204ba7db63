"""The Recipe: the one validated description of a training job.

The same field names are YAML keys, `key=value` words of the command line and keyword arguments in
Python. A field that is not given takes the preset of its model and data set (`presets.toml`), so a
Recipe is complete: nothing in it is left to be decided but what only the machine can tell
(`device`, `precision`, `memory_format`, `convolution`: "auto").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from traintime.errors import InputError
from traintime.recipe.budget import Budget, parse_budget
from traintime.recipe.data_folder import folder_named_by, table_named_by
from traintime.recipe.presets import fill_in

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Cache = Literal["auto", "memory", "disk", "none"]
Convolution = Literal["auto", "native", "fused"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]
Metric = Literal["accuracy", "loss"]
OptimizerName = Literal["sgd", "adam", "adamw", "muon"]
Precision = Literal["auto", "fp32", "bf16"]
ScheduleName = Literal["constant", "step", "cosine", "one_cycle"]
FIELDS_OF_IMAGES = ("image_size", "cache", "workers", "flip", "crop", "cutout")
MOST_WORKERS = 256
MOST_EPOCHS = 10_000
"""Also what a budget without epochs leaves them at."""


@dataclass(frozen=True)
class Target:
    """A quality to reach: a metric and the value that counts as reached."""

    metric: Metric
    value: float

    def is_reached_by(self, value: float) -> bool:
        """Say whether a measured value is as good as the target."""
        return value >= self.value if self.metric == "accuracy" else value <= self.value

    def beyond(self, margin: float) -> Target:
        """Return the target that is reached by values better than this one's by a margin."""
        sign = 1 if self.metric == "accuracy" else -1
        return Target(self.metric, self.value + sign * margin)

    def __str__(self) -> str:
        return f"{self.metric}:{self.value:g}"


class Recipe(BaseModel):
    """A training job: data, model, how to train, and when to stop."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    # What is trained on what
    data: Annotated[
        str,
        Field(
            description="Data set: mnist, fashion-mnist, cifar10 or digits; or the path of a "
            "folder that holds a folder of images for each class, or of a table (.csv, .tsv or "
            ".parquet)."
        ),
    ]
    model: Annotated[str, Field(description="Network: mlp, lenet, resnet9, resnet18 or vgg11.")]
    label: Annotated[
        str | None, Field(description="Column of a table that holds the classes to be told apart.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of every random choice.")] = 0

    # Data
    train_samples: Annotated[
        int | None,
        Field(ge=1, description="Use only so many training samples, drawn evenly; all by default."),
    ] = None
    image_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=2048,
            description="Pixels of a side that images of a folder are cut square and resized to; "
            "64 by default. Data sets have their own.",
        ),
    ] = None
    max_damaged: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of a folder's images or a table's rows that may be unreadable and "
            "are left out; of 20 or more one always may, unless this is 0.",
        ),
    ] = 0.01
    cache: Annotated[
        Cache,
        Field(
            description="Where a folder's images are kept once they are decoded: memory, disk, or "
            "none, which decodes them again in each epoch; auto takes the first that has room."
        ),
    ] = "auto"
    workers: Annotated[
        int | Literal["auto"],
        Field(
            description="Processes that gather batches ahead of the step where images are not in "
            "memory; 0 gathers each batch when it is wanted."
        ),
    ] = "auto"
    split: Annotated[
        tuple[float, float, float],
        Field(description="Train/validation/test shares of a set without a test split of its own."),
    ] = (0.7, 0.15, 0.15)
    validation: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="Share of the training part held out for validation where "
            "the set has its own test split.",
        ),
    ] = 0.05
    validate_on: Annotated[
        Literal["validation", "test"],
        Field(
            description="Where the metric and the target are watched. 'test' trains on the "
            "validation part too and watches the test set, as speed contests do: the final "
            "score is then no unbiased estimate."
        ),
    ] = "validation"
    flip: Annotated[bool, Field(description="Augment: mirror half of the images.")] = False
    crop: Annotated[
        int, Field(ge=0, le=16, description="Augment: shift by up to so many pixels.")
    ] = 0
    cutout: Annotated[
        int, Field(ge=0, description="Augment: blank a square of so many pixels.")
    ] = 0

    # Network
    hidden: Annotated[
        tuple[int, ...], Field(description="Widths of the hidden layers of an mlp.")
    ] = (128,)
    activation: Annotated[Activation, Field(description="Non-linearity of the network.")] = "relu"
    batch_norm: Annotated[
        bool,
        Field(description="Batch normalisation of convolutions, and of an mlp's hidden layers."),
    ] = False
    dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layers.")] = (
        0.0
    )

    # Length and target
    epochs: Annotated[
        int, Field(ge=1, le=MOST_EPOCHS, description="Passes over the training part, at most.")
    ]
    batch_size: Annotated[int, Field(description="Samples per optimizer step.")]
    accumulate: Annotated[
        int, Field(ge=1, description="Micro-batches that a batch is split into, to save memory.")
    ] = 1
    target: Annotated[
        str | None, Field(description="Stop when reached, e.g. accuracy:0.99 or loss:0.1.")
    ] = None
    confidence: Annotated[
        float,
        Field(
            ge=0.5,
            lt=1,
            description="Probability with which the target has to hold, as a validation set is a "
            "sample; 0.5 stops at the first validation that reaches it.",
        ),
    ] = 0.5
    budget: Annotated[
        str | None,
        Field(
            description="Time the run may take, such as 10m or 1h30m, or a time of day such as "
            "17:30. The learning rate reaches its end then; epochs, if given, is the most."
        ),
    ] = None
    patience: Annotated[
        int,
        Field(
            ge=0,
            description="Early stopping: epochs without improvement before the run ends; "
            "0 switches it off.",
        ),
    ] = 0
    min_delta: Annotated[
        float, Field(ge=0, description="Early stopping: the least change that is an improvement.")
    ] = 0.0
    min_chance: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Early stopping by forecast: once a quarter is done, the run ends when the "
            "chance of reaching the target, or else of improving, falls below; 0 switches it off.",
        ),
    ] = 0.0
    monitor: Annotated[
        Metric, Field(description="Early stopping: the validation metric that is watched.")
    ] = "accuracy"

    # Optimizer
    optimizer: Annotated[OptimizerName, Field(description="sgd (Nesterov), adam, adamw or muon.")]
    lr: Annotated[float, Field(gt=0, description="Peak learning rate.")]
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="Momentum (sgd, muon) or beta1 (adam, adamw).")
    ] = 0.9
    beta2: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Decay of the squared gradient (adam, adamw, and muon's vectors).",
        ),
    ] = 0.99
    muon_iterations: Annotated[
        int, Field(ge=1, le=10, description="Newton-Schulz iterations of each muon step.")
    ] = 3
    weight_decay: Annotated[float, Field(ge=0, description="Decoupled weight decay.")] = 0.0
    l1: Annotated[float, Field(ge=0, description="L1 penalty on the weights.")] = 0.0
    l2: Annotated[float, Field(ge=0, description="L2 penalty on the weights.")] = 0.0
    grad_clip: Annotated[
        float, Field(ge=0, description="Largest norm of the gradient; 0 does not clip.")
    ] = 0.0
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="Share of the label spread over all classes.")
    ] = 0.0
    ema: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Decay per step of an average of the weights that is "
            "evaluated in their place; 0 switches it off.",
        ),
    ] = 0.0

    # Schedule
    schedule: Annotated[
        ScheduleName, Field(description="Course of the learning rate after the warm-up.")
    ] = "one_cycle"
    warmup: Annotated[
        float, Field(ge=0, lt=1, description="Share of all steps spent on a linear warm-up.")
    ] = 0.2
    decay_every: Annotated[
        int, Field(ge=1, description="Epochs between two drops of the step schedule.")
    ] = 10
    decay_factor: Annotated[
        float, Field(gt=0, lt=1, description="Factor of each drop of the step schedule.")
    ] = 0.1

    # Machine
    device: Annotated[
        str, Field(description="cpu, cuda, cuda:1, ... ; auto takes the first GPU there is.")
    ] = "auto"
    precision: Annotated[
        Precision, Field(description="fp32, or bf16 for autocast; auto takes the faster.")
    ] = "auto"
    memory_format: Annotated[
        MemoryFormat, Field(description="Layout of images; auto takes the faster.")
    ] = "auto"
    convolution: Annotated[
        Convolution,
        Field(
            description="native, or fused: convolutions with few channels computed with "
            "their pooling, for CPUs; auto takes the faster."
        ),
    ] = "auto"
    compile: Annotated[bool, Field(description="Use torch.compile.")] = False

    # Records
    checkpoint_every_s: Annotated[
        float,
        Field(
            ge=0, description="Least seconds between two checkpoints; 0 saves a few times a second."
        ),
    ] = 30.0

    @model_validator(mode="before")
    @classmethod
    def _take_presets(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given: dict[str, Any] = {**values}
        data = str(given["data"]) if given.get("data") else None
        own = data and (folder_named_by(data) or table_named_by(data))
        if own:
            given["data"] = str(own)
            if given.get("image_size") is None:
                given.pop("image_size", None)  # the preset's then
        if given.get("budget") is not None and given.get("epochs") is None:
            given["epochs"] = MOST_EPOCHS
        return fill_in(given)

    @field_validator("target", mode="before")
    @classmethod
    def _check_target(cls, text: object) -> str | None:
        return None if text is None else str(parse_target(str(text)))

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, text: object) -> str | None:
        return None if text is None else str(parse_budget(_as_typed(text)))

    @field_validator("cache", mode="before")
    @classmethod
    def _take_no_cache(cls, cache: object) -> object:
        return "none" if cache is None or cache is False else cache  # as 'none' and 'off' are read

    @field_validator("workers", mode="before")
    @classmethod
    def _check_workers(cls, workers: object) -> object:
        is_number = isinstance(workers, int | float) and not isinstance(workers, bool)
        if workers == "auto" or (is_number and workers in range(MOST_WORKERS + 1)):
            return workers
        raise ValueError(
            f"it is a number of processes from 0 to {MOST_WORKERS}, or auto; try workers=2"
        )

    @field_validator("batch_size")
    @classmethod
    def _check_batch_size(cls, batch_size: int) -> int:
        if batch_size < 1:
            raise ValueError(f"a batch has at least 1 sample, not {batch_size}; try batch_size=64")
        return batch_size

    @field_validator("hidden", mode="before")
    @classmethod
    def _take_one_width(cls, hidden: object) -> object:
        return (hidden,) if isinstance(hidden, int | float) else hidden

    @field_validator("hidden")
    @classmethod
    def _check_hidden(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in hidden):
            raise ValueError("every hidden layer has at least 1 unit; try hidden=128")
        return hidden

    @field_validator("split")
    @classmethod
    def _check_split(cls, split: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(split) <= 0 or abs(sum(split) - 1) > 1e-6:
            raise ValueError("three positive shares sum to 1; try split=0.7,0.15,0.15")
        return split

    @model_validator(mode="after")
    def _check_fields_of_data(self) -> Recipe:
        if self.table:
            self._refuse_fields_of_images()
        elif self.label is not None:
            raise ValueError(
                f"label names a column of a table, and {self.data_name} is none; leave it out, or "
                "type data= of a file that ends in .csv, .tsv or .parquet"
            )
        if self.image_size and not self.folder:
            raise ValueError(
                f"image_size is for images of your own, and those of {self.data} have their size; "
                "leave it out"
            )
        for name in ("cache", "workers"):
            if getattr(self, name) != "auto" and not self.folder:
                raise ValueError(
                    f"{name} is for images of your own, and {self.data} fits into memory; leave it "
                    "out"
                )
        return self

    def _refuse_fields_of_images(self) -> None:
        for name in FIELDS_OF_IMAGES:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for images, and {self.data_name} is a table; leave it out"
                )

    @model_validator(mode="after")
    def _check_together(self) -> Recipe:
        if self.optimizer == "adam" and self.weight_decay:
            raise ValueError(
                "adam has no decoupled weight decay; type optimizer=adamw, or l2= for a penalty"
            )
        if self.cache == "memory" and self.workers not in ("auto", 0):
            raise ValueError(
                "workers gather batches that are not in memory; leave workers out, or type "
                "cache=disk"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"a batch of {self.batch_size} cannot be split into {self.accumulate} "
                f"micro-batches; try accumulate={self.batch_size} or less"
            )
        return self

    @property
    def folder(self) -> Path | None:
        """The folder of images that is trained on, or None for other data."""
        return folder_named_by(self.data)

    @property
    def table(self) -> Path | None:
        """The table that is trained on, or None for other data."""
        return table_named_by(self.data)

    @property
    def data_name(self) -> str:
        """What the data is called in text: the name of a data set, a folder or a table."""
        own = self.folder or self.table
        return own.name if own else self.data

    def smallest_micro_batch(self, train_samples: int) -> int:
        """Return the fewest samples that go through the network together in an epoch.

        Args:
            train_samples: Of the training part.
        """
        last = train_samples % self.batch_size or self.batch_size
        return last // min(self.accumulate, last)

    @property
    def goal(self) -> Target | None:
        """The target as a metric and a value, or None if the run just lasts its epochs."""
        return parse_target(self.target) if self.target else None

    def margin(self, deviation: float) -> float:
        """Return by how much a value has to be better than the target, so that the target holds.

        Args:
            deviation: Standard deviation of the value, since it is measured on a sample.
        """
        return NormalDist().inv_cdf(self.confidence) * deviation

    @property
    def time_budget(self) -> Budget | None:
        """The budget as a length of time or a moment, or None if there is none."""
        return parse_budget(self.budget) if self.budget else None


def parse_target(text: str) -> Target:
    """Read 'accuracy:0.99'.

    Raises:
        InputError: No such metric, or a value that the metric cannot take.
    """
    metric, _, number = text.partition(":")
    if metric not in ("accuracy", "loss"):
        raise InputError(
            f"The target '{text}' names no known metric. Expected accuracy:VALUE or loss:VALUE; "
            "type for example target=accuracy:0.9"
        )
    try:
        value = float(number)
    except ValueError:
        raise InputError(
            f"The target '{text}' has no number after the colon; type for example "
            f"target={metric}:{'0.9' if metric == 'accuracy' else '0.3'}"
        ) from None
    if metric == "accuracy" and not 0 < value <= 1:
        raise InputError(
            f"Accuracy is a share between 0 and 1 and cannot reach {value:g}. "
            f"Type target=accuracy:{_as_share(value):g}"
        )
    if metric == "loss" and not 0 < value < math.inf:
        raise InputError(f"A loss is a number above 0, not {value:g}. Type target=loss:0.1")
    return Target(metric, value)


def _as_typed(budget: object) -> str:
    """Undo what YAML 1.1 does to 17:30, which it takes for 17 × 60 + 30."""
    if isinstance(budget, int) and not isinstance(budget, bool) and budget % 60 < budget < 86_400:
        hours, minutes = divmod(budget, 60)
        raise InputError(
            f"budget={budget} has no unit; type for example budget={budget}s, or put a time of "
            f"day into quotes: budget: '{hours % 24}:{minutes:02d}'"
        )
    return str(budget)


def _as_share(value: float) -> float:
    """Guess what was meant by an impossible accuracy: 99 is 99 %, all else the usual 0.9."""
    return value / 100 if 2 < value <= 100 else 0.9
