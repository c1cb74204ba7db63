"""The shape of one sample, as a user types it: `3x224x224` or `512 tokens`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from traintime.errors import InputError
from traintime.workload.kernels import KernelGraph


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
    numbers = tuple(map(int, re.findall(r"\d+", plain)))
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
    held = "of other sides too" if graph.size_unit else "alone"
    raise InputError(
        f"input={sample} does not fit {graph.model}, which is known for {standard} {held}. Leave "
        "input= out, or give the model as code: model=path/to/file.py:build"
    )
