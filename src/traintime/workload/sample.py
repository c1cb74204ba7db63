"""The shape of one sample, as a user types it: `3x224x224` or `512 tokens`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from traintime.errors import InputError
from traintime.workload.kernels import KernelGraph

MOST_VALUES, MOST_DIGITS = 10**11, 12
"""Of a sample, and of a side: numbers of bytes stay far below 2**63."""


@dataclass(frozen=True)
class Sample:
    """What a model is given for one sample.

    Args:
        shape: Without the batch; (length,) for tokens.
        tokens: Whether it is a sequence of numbers of words, else of measured values.
    """

    shape: tuple[int, ...]
    tokens: bool = False

    def __str__(self) -> str:
        return f"{self.shape[0]} tokens" if self.tokens else "x".join(map(str, self.shape))


def read_sample(text: str) -> Sample:
    """Return what `input=` says.

    Args:
        text: Sides joined by x, or a number of tokens.

    Raises:
        InputError: It says something else.
    """
    plain = text.strip().casefold().replace("×", "x")
    tokens = re.fullmatch(r"(\d+)\s*tokens?", plain)
    sides = re.fullmatch(r"\d+(\s*x\s*\d+)*", plain)
    typed = re.findall(r"\d+", plain)
    numbers = tuple(int(side) if len(side) < MOST_DIGITS else MOST_VALUES + 1 for side in typed)
    if math.prod(numbers) > MOST_VALUES:
        raise InputError(
            f"input='{text}' is more than any sample holds. Type for example input=3x224x224, or "
            "input='512 tokens'"
        )
    if not (tokens or sides) or not all(numbers):
        raise InputError(
            f"input='{text}' is no shape. Type the sides of one sample without the batch, such as "
            "input=3x224x224, or input='512 tokens' for text"
        )
    return Sample(numbers, tokens=bool(tokens))


def relative_size(graph: KernelGraph, sample: Sample) -> float:
    """Return u of a sample: its size as a share of the graph's standard one.

    Args:
        graph: Captured at several sizes, or at one.
        sample: What shall be trained on instead.

    Raises:
        InputError: The graph does not hold for such a sample.
    """
    standard = Sample(graph.input_shape, tokens=graph.size_unit == "tokens")
    if sample.shape == graph.input_shape:
        return 1.0
    if graph.size_unit == "tokens" and sample.tokens:
        return sample.shape[0] / graph.input_shape[0]
    alike = len(sample.shape) == len(graph.input_shape) and sample.shape[0] == graph.input_shape[0]
    if graph.size_unit == "pixels" and alike:
        return math.prod(sample.shape[1:]) / math.prod(graph.input_shape[1:])
    held = f"{standard} alone"
    if graph.size_unit == "pixels":
        held = f"images of {standard.shape[0]} channels and any sides, such as {standard}"
    elif graph.size_unit == "tokens":
        held = f"text of any length, such as {standard}"
    raise InputError(
        f"input={sample} does not fit {graph.model}, which is known for {held}. Leave input= out, "
        "or give the model as code: model=path/to/file.py:build"
    )
