"""Find the smallest image and the longest text that each shipped model takes, by trying.

Prints the tables that `src/traintime/workload/shipped_models.toml` ends with. It runs where
`make_graphs.py` does: `python scripts/find_limits.py`, or with some names after it.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from make_graphs import subjects
from traintime.workload.capture import Subject
from traintime.workload.shipped import shipped_graph

LONGER = 8
"""Times its standard length: a model that takes so long a text takes any."""
BATCH = 16
ASKS_FOR_VALUES = "cannot be called on meta tensors"
"""What torch says to one that looks at values, which is no refusal of a size."""
POSITIONS = ("position_embeddings", "embed_positions", "wpe")
"""What transformers calls a table of learned positions."""


def main() -> None:
    """Print the limits of all models, or of those named on the command line."""
    makers = subjects()
    found: dict[str, dict[str, int]] = {"least_side": {}, "most_tokens": {}}
    for name in sys.argv[1:] or makers:
        graph = shipped_graph(name, "fp32")
        if graph is None or graph.size_unit is None:
            continue  # it holds for its own size alone
        subject = makers[name]()
        if graph.size_unit == "pixels":
            found["least_side"][name] = _least(subject)
        elif limit := _most(subject):
            found["most_tokens"][name] = limit
    for table, limits in found.items():
        print(f"\n[{table}]")
        for name, limit in limits.items():
            if limit == 1:  # as good as none
                continue
            print(f'"{name}" = {limit}' if "." in name else f"{name} = {limit}")


def _least(subject: Subject) -> int:
    """Return the smallest side that it takes; larger ones it takes all."""
    refused, taken = 0, subject.size
    while taken - refused > 1:
        middle = (refused + taken) // 2
        refused, taken = (refused, middle) if _takes(subject, middle) else (middle, taken)
    return taken


def _most(subject: Subject) -> int | None:
    """Return the most tokens that it takes; None if there is no end.

    Shapes do not say whether a table of positions has the row that is looked up, so its rows count.
    """
    positions = _positions(subject.module)
    if positions or _takes(subject, LONGER * subject.size):
        return positions
    taken, refused = subject.size, LONGER * subject.size
    while refused - taken > 1:
        middle = (refused + taken) // 2
        taken, refused = (middle, refused) if _takes(subject, middle) else (taken, middle)
    return taken


def _positions(module: nn.Module) -> int | None:
    """Return the positions that it has learned; RoBERTa and OPT begin theirs at 2."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding) and name.rpartition(".")[2] in POSITIONS:
            first = getattr(part, "offset", 0) if part.padding_idx is None else part.padding_idx + 1
            return part.num_embeddings - first
    return None


def _takes(subject: Subject, size: int) -> bool:
    """Say whether its forward goes through at a size, which shapes alone decide."""
    try:
        module = subject.at_size(size) if subject.at_size else subject.module
        args, kwargs = tree_map(_without_values, subject.inputs(BATCH, size))
        module.to("meta").train()(*args, **kwargs)
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError, AssertionError) as error:
        print(f"{subject.name or subject.source} at {size}: {error}", file=sys.stderr)
        return ASKS_FOR_VALUES in str(error)
    return True


def _without_values(value: object) -> object:
    return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value


if __name__ == "__main__":
    main()
