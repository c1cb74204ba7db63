"""Why a module's step could not be followed: where it stopped, what it said, what to change."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from torch import nn

from traintime.errors import InputError, TraintimeError
from traintime.workload.kernels import Phase
from traintime.workload.live_bytes import tensors_of
from traintime.workload.module_states import FAILED_AT
from traintime.workload.time_limit import TookTooLongError


class NeedsValuesError(InputError):
    """A model cannot be captured by shapes alone, yet might be by computing."""


NEEDS_VALUES = (
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "GuardOnDataDependentSymNode",
    "UnsupportedFakeTensorException",
    "UnsupportedOperatorException",
)
NEEDS_MEMORY = (
    "data pointer",
    "numpy()",
    "tolist()",
    "fake impl",
    "no fake",
    "doesn't have storage",
)
"""What torch says where values of a fake tensor are asked for in another way."""

ABOUT_SHAPES = re.compile(
    r"shape|size|dimension|\bdims?\b|channels|broadcast|view|stride|out of range", re.IGNORECASE
)


@dataclass
class Now:
    """Where a step is.

    Args:
        stage: What is running.
        layers: Paths of the modules that are running, the innermost last.
    """

    stage: Literal["forward", "loss", "backward"] = "forward"
    layers: list[str] = field(default_factory=list[str])

    @property
    def phase(self) -> Phase:
        """The stage, where the loss counts as forward."""
        return "backward" if self.stage == "backward" else "forward"

    @property
    def layer(self) -> str:
        """Path of the innermost module that is running."""
        return self.layers[-1] if self.layers else ""


@contextlib.contextmanager
def refusals(module: nn.Module, now: Now, inputs: Any) -> Generator[None]:
    """Say where a step stopped, what was said there, and what to change.

    Args:
        module: That runs.
        now: Where it is.
        inputs: That it was given.

    Raises:
        NeedsValuesError: It asked for values where there are shapes alone.
        InputError: It failed otherwise, or did not end.
    """
    try:
        yield
    except TraintimeError:
        raise
    except TookTooLongError as error:
        raise InputError(
            f"The model did not end in {_place(module, now, now.layer)}: {error}, where a step is "
            "followed in seconds. Look there for a loop without an end, or for what waits; a "
            "model that is so large may be given with fewer layers"
        ) from error
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        kind = type(error).__name__
        where = _place(module, now, cast("str", vars(error).get(FAILED_AT, "")))
        if kind in NEEDS_VALUES or any(words in said for words in NEEDS_MEMORY):
            raise NeedsValuesError(
                f"The model looks at values of tensors in {where} ({kind}: {said}), or uses an "
                "operation that torch cannot follow without values. For an operation of your own "
                "register a fake kernel: torch.library.register_fake"
            ) from error
        hint = _what_to_change(said, kind, now, inputs)
        raise InputError(f"The model stopped in {where}: {said} ({kind}). {hint}") from error


def _place(module: nn.Module, now: Now, path: str) -> str:
    if now.stage != "forward":
        return f"its {now.stage}"
    kind = type(module.get_submodule(path)).__name__
    return f"its layer '{path}' ({kind})" if path else f"its forward ({kind})"


ABOUT_WORDS = re.compile(r"scalar type.*\b(Long|Int)\b|Input type \(.*\blong\b|LongTensor")
"""What torch says of whole numbers where it expects others, or the other way round."""


def _what_to_change(said: str, kind: str, now: Now, inputs: Any) -> str:
    if "Sparse" in said:
        return (
            "Gradients that are sparse cannot be followed; build its embeddings with sparse=False"
        )
    if now.stage == "loss":
        return (
            "The loss is given the model's output alone, so make labels in it: "
            "loss=lambda output: cross_entropy(output, torch.zeros(len(output), dtype=torch.long))"
        )
    if now.stage == "forward" and kind == "TypeError" and "argument" in said:
        return (
            "It was given "
            f"{_given(inputs)}. An example batch may be a tuple of all arguments, or a dict by name"
        )
    if now.stage == "forward" and ABOUT_WORDS.search(said):
        return (
            f"It was given {_given(inputs)}. Where it reads numbers of words type for example "
            "input='512 tokens', where it reads values input=3x224x224"
        )
    if now.stage == "forward" and ABOUT_SHAPES.search(said):
        return (
            f"It was given {_given(inputs)}. If a sample has another shape, type for example "
            "input=3x224x224 or input='512 tokens'; where its code has the size of a batch in it, "
            "write x.shape[0]"
        )
    return "Try the same with torch alone: one forward and backward of a batch of zeros"


def _given(inputs: Any) -> str:
    shapes = ["x".join(map(str, tensor.shape)) for tensor in tensors_of(inputs)]
    return f"a batch of {', '.join(shapes)}" if shapes else "no tensor"
