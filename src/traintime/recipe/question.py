"""The Question: a training job that is asked about and not run.

It may name any model, any data set and any device of the catalogue, none of which have to be here.
Where model and data are our trainer's own and the device is this machine, the job is a Recipe.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from traintime.errors import InputError, nearest
from traintime.recipe.parse import explain, read_fields, without_none
from traintime.recipe.recipe import MemoryFormat, OptimizerName, Recipe

AskedPrecision = Literal["auto", "fp32", "tf32", "amp", "half"]
Sharding = Literal["none", "optimizer", "full"]
OTHER_PRECISIONS = {"bf16": "amp", "fp16": "amp", "float32": "fp32", "mixed": "amp"}
OTHER_SHARDINGS = {
    "false": "none",
    "no": "none",
    "ddp": "none",
    "zero0": "none",
    "zero1": "optimizer",
    "zero3": "full",
    "true": "full",
    "fsdp": "full",
    "fsdp2": "full",
}
LIBRARIES = ("timm:", "hf:")
THIS_MACHINE = ("auto", "cpu", "cuda")
MOST = {"samples": 10**15, "tokens": 10**18, "epochs": 10**6, "batch_size": 10**9}
LEAST_PILOT, MOST_PILOT = 5, 1_000
EXAMPLES = {
    "samples": "50000",
    "validation_samples": "10000",
    "tokens": "300e9",
    "epochs": "90",
    "batch_size": "256",
}
SIZES_BESIDE_TOKENS = ("data", "samples", "epochs")
SHOW_FIELDS = "`traintime forecast --help` explains each field."
MISFIT = "The question does not fit together"


def _what_counts(name: str) -> str:
    """Return what is expected of a field that counts, and an example."""
    if name == "validation_samples":
        like = f"{name}={EXAMPLES[name]}, or 0 for no validation"
        return f"a whole number from 0 is expected; try {like}"
    return f"a whole number from 1 to {MOST[name]:,} is expected; try {name}={EXAMPLES[name]}"


class Question(BaseModel):
    """A training job on devices that need not be here."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    model: Annotated[
        str,
        Field(
            description="A shipped model such as resnet50 or gpt2, timm:NAME, hf:NAME, or "
            "FILE.py:FUNCTION that returns a torch module."
        ),
    ]
    data: Annotated[
        str | None, Field(description="A data set whose size is known, such as imagenet.")
    ] = None
    samples: Annotated[
        int | None,
        Field(
            description="Training samples of an epoch, for other data or for a part of it; without "
            "data and samples, a step alone is forecast."
        ),
    ] = None
    tokens: Annotated[
        int | None,
        Field(
            description="Tokens to train on in all, such as 300e9, for a model that reads text; in "
            "place of data, samples and epochs."
        ),
    ] = None
    validation_samples: Annotated[
        int | None,
        Field(description="Samples that each epoch is validated on; those of the data by default."),
    ] = None
    input: Annotated[
        str | None,
        Field(
            description="Shape of one sample, such as 3x224x224, or '512 tokens'; the model's "
            "standard by default."
        ),
    ] = None
    epochs: Annotated[int, Field(description="Passes over the training samples.")] = 1
    batch_size: Annotated[
        int, Field(description="Samples per optimizer step, over all devices together.")
    ] = 64
    accumulate: Annotated[
        int, Field(description="Micro-batches that a batch is split into, to save memory.")
    ] = 1
    sharding: Annotated[
        Sharding,
        Field(
            description="What several devices divide among them: none, optimizer (its values: "
            "ZeRO-1) or full (weights and gradients too: FSDP, ZeRO-3)."
        ),
    ] = "none"
    recompute: Annotated[
        bool,
        Field(
            description="Keep each block's input alone and compute the rest of its forward again "
            "in the backward (activation checkpointing)."
        ),
    ] = False
    optimizer: Annotated[
        OptimizerName | None,
        Field(
            description="sgd, adam, adamw or muon; sgd for images and adamw for text by default."
        ),
    ] = None
    precision: Annotated[
        AskedPrecision,
        Field(
            description="fp32, tf32, amp (autocast to bf16 or fp16) or half (weights in 16 bits "
            "too); auto takes amp where the device gains by it."
        ),
    ] = "auto"
    memory_format: Annotated[
        MemoryFormat,
        Field(description="Layout of images; auto takes channels_last for amp on matrix engines."),
    ] = "auto"
    compile: Annotated[
        bool, Field(description="Use torch.compile, with launches captured in graphs.")
    ] = False
    device: Annotated[
        str,
        Field(description="Devices such as rtx-3090, a100x4 or a list of them; all is each once."),
    ] = "auto"

    pilot: Annotated[
        int,
        Field(
            description="Real steps to take here before answering, such as 10; on this machine "
            "they tell more than any law."
        ),
    ] = 0

    @field_validator("model", mode="before")
    @classmethod
    def _check_model(cls, model: object) -> object:
        if isinstance(model, str) and (not model.strip() or model in LIBRARIES):
            raise ValueError("a name is expected; try model=resnet50, model=timm:NAME or hf:NAME")
        return model

    @field_validator(
        "samples", "tokens", "validation_samples", "epochs", "batch_size", mode="before"
    )
    @classmethod
    def _take_power_of_ten(cls, count: object, info: Any) -> object:
        """Read 1e6, which YAML 1.1 takes for a string."""
        try:
            number = float(count) if isinstance(count, str) else count
        except ValueError:
            raise ValueError(_what_counts(info.field_name)) from None
        if isinstance(number, float) and not (number.is_integer() and number < 2**63):
            raise ValueError(_what_counts(info.field_name))
        return number

    @field_validator("samples", "tokens", "epochs", "batch_size")
    @classmethod
    def _check_count(cls, count: int | None, info: Any) -> int | None:
        name = info.field_name
        if count is not None and not 1 <= count <= MOST[name]:
            raise ValueError(_what_counts(name))
        return count

    @field_validator("validation_samples")
    @classmethod
    def _check_validation(cls, count: int | None) -> int | None:
        if count is not None and not 0 <= count <= MOST["samples"]:
            raise ValueError(_what_counts("validation_samples"))
        return count

    @field_validator("pilot")
    @classmethod
    def _check_pilot(cls, steps: int) -> int:
        if steps and not LEAST_PILOT <= steps <= MOST_PILOT:
            raise ValueError(
                f"0 for none, or {LEAST_PILOT} to {MOST_PILOT:,} steps are expected, the first "
                "of which only warm up; try pilot=10"
            )
        return steps

    @field_validator("input", mode="before")
    @classmethod
    def _take_sides(cls, given: object) -> object:
        """Write 224, [3, 224, 224] and '3 × 224 × 224' as they are typed: 3x224x224."""
        sides = given if isinstance(given, list | tuple) else (given,)
        text = "x".join(_plain(side) for side in sides)  # pyright: ignore[reportUnknownVariableType]
        return None if given is None else text.replace("×", "x").replace(" x ", "x")

    @field_validator("precision", mode="before")
    @classmethod
    def _take_other_name(cls, precision: object) -> object:
        name = str(precision).casefold()
        return OTHER_PRECISIONS.get(name, name)

    @field_validator("sharding", mode="before")
    @classmethod
    def _take_other_sharding(cls, sharding: object) -> object:
        """Read ZeRO-3, zero_3 and FSDP as the field calls them, and YAML's no."""
        name = str(sharding).casefold()
        return OTHER_SHARDINGS.get(name.replace("-", "").replace("_", ""), name)

    @field_validator("device", mode="before")
    @classmethod
    def _take_list(cls, device: object) -> object:
        """Put back together what commas divided, and take 3090 for a name."""
        if device is None or device == "":
            raise ValueError("a name is expected; try device=rtx-3090, or leave device= out")
        parts = device if isinstance(device, list | tuple) else (device,)
        return ",".join(_plain(part) for part in parts)  # pyright: ignore[reportUnknownVariableType]

    @model_validator(mode="after")
    def _check_together(self) -> Question:
        beside = [name for name in SIZES_BESIDE_TOKENS if name in self.model_fields_set]
        if self.tokens and beside:
            raise ValueError(
                f"tokens={self.tokens:,} says how much is trained on in all, and so does "
                f"{beside[0]}={getattr(self, beside[0])}; leave one of both out"
            )
        if self.pilot and self.recompute:
            raise ValueError(
                f"pilot={self.pilot} takes steps of the model as it is, and recompute=true would "
                "not be in them; leave one of both out"
            )
        if not 1 <= self.accumulate <= self.batch_size:
            raise ValueError(
                f"a batch of {self.batch_size:,} cannot be split into {self.accumulate:,} "
                f"micro-batches; try accumulate={min(8, max(1, self.batch_size // 8))}"
            )
        return self


def _plain(value: object) -> str:
    """Return a value as it was typed before a number was seen in it."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)  # pyright: ignore[reportArgumentType]


ONLY_ASKED = frozenset(Question.model_fields) - frozenset(Recipe.model_fields) - {"pilot"}
ONLY_TRAINED = frozenset(Recipe.model_fields) - frozenset(Question.model_fields)


def read_question(words: Iterable[str] = (), **fields: Any) -> Question:
    """Return the question that the words and fields describe.

    Args:
        words: `key=value`, or the path of a YAML file; later ones win.
        **fields: Fields by name; they win over the words.

    Raises:
        InputError: A word is neither, a key is unknown, or a value is out of its range.
    """
    return make_question(read_fields(words, **fields))


def make_question(values: Mapping[str, Any]) -> Question:
    """Validate fields and return the question; the message names the field and what it expects.

    Raises:
        InputError: A key is unknown, or a value is out of its range.
    """
    check_keys(values)
    if "model" not in values:
        raise InputError("The question names no model; type for example model=resnet50")
    values = without_none(values)
    try:
        return Question.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join([*explain(error, values, MISFIT), SHOW_FIELDS])) from None


def check_keys(keys: Iterable[str]) -> None:
    """Refuse a key that no question has.

    Raises:
        InputError: Names the nearest one, or says that the key is for what is trained here.
    """
    for key in keys:
        if key == "label":
            raise InputError(
                "label= is of a table, and those are read by model=mlp: type data=FILE.csv, label= "
                "and model=mlp. For any other model leave label= out and say samples=50000"
            )
        if key in ONLY_TRAINED:
            raise InputError(
                f"'{key}' is for networks that traintime trains itself, and does not change what "
                f"a step of this one takes. Leave {key}= out"
            )
        if key not in Question.model_fields:
            near = nearest(key, Question.model_fields)
            hint = f"Did you mean '{near}'? " if near else ""
            raise InputError(f"A question has no field '{key}'. {hint}{SHOW_FIELDS}")


def is_question(
    fields: Mapping[str, Any], models: Container[str], data_sets: Container[str]
) -> bool:
    """Say whether fields describe a job to forecast alone, and not one that our trainer runs here.

    Args:
        fields: As they were typed.
        models: Networks that our trainer has.
        data_sets: Data sets that it has.
    """
    if not is_this_machine(fields.get("device")) or fields.keys() & ONLY_ASKED:
        return True
    if fields.keys() & ONLY_TRAINED:
        return False
    model, data = fields.get("model"), fields.get("data")
    return any(
        bool(name) and not (isinstance(name, str) and name in known)
        for name, known in ((model, models), (data, data_sets))
    )


def is_this_machine(device: object) -> bool:
    """Say whether a device is "auto", "cpu", "cuda" or "cuda:N", and none of the catalogue."""
    return device is None or str(device).partition(":")[0].casefold() in THIS_MACHINE
