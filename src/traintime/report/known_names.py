"""What the terminal shows of the models and data sets that forecasts know by name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from traintime.data.known_sizes import KnownSize
from traintime.units import format_count
from traintime.workload.known_models import KnownModel

GAP = "  "


def model_table(models: Sequence[KnownModel]) -> RenderableType:
    """Return models by family, a line each, and what else may be named."""
    width = max(len(model.name) for model in models)
    text = Text(no_wrap=True, overflow="fold")
    for family, kin in groupby(models, lambda model: model.family):
        text.append(f"{family}\n", "bold")
        for one in kin:
            size = f"{format_count(one.parameters)} parameters" if one.parameters else "by data"
            text.append(f"  {one.name:<{width}}", "cyan")
            text.append(f"{GAP}{size:>17}{GAP}{one.input:<11}")
            text.append(f"{GAP}{', '.join(one.other_names)}".rstrip() + "\n", "dim")
    return Group(text, Text(_HOW_TO_NAME_OTHERS, "dim"))


_HOW_TO_NAME_OTHERS = (
    "The input is the usual one; input= names another. Behind it: other names of the same.\n"
    "Others: model=timm:NAME, model=hf:NAME (Hugging Face), model=path/to/file.py:build.\n"
    "For example: traintime forecast model=resnet50 data=imagenet epochs=90 device=rtx-3090"
)


def data_table(sizes: Sequence[KnownSize]) -> RenderableType:
    """Return data sets, a line each, and what to say of others."""
    name_width, title_width = (
        max(len(getattr(size, field)) for size in sizes) for field in ("name", "title")
    )
    text = Text(no_wrap=True, overflow="fold")
    for size in sizes:
        shape = "x".join(map(str, size.shape)) if size.shape else ""
        counts = (
            f"{format_count(size.train):>7} + {format_count(size.validation):>6} {size.unit:<8}"
        )
        text.append(f"{size.name:<{name_width}}", "cyan")
        text.append(f"{GAP}{size.title:<{title_width}}{GAP}{counts}{GAP}{shape}".rstrip() + "\n")
    return Group(text, Text(_HOW_TO_SAY_OTHERS, "dim"))


_HOW_TO_SAY_OTHERS = (
    "To train on + to validate on, and the shape of images that all have the same.\n"
    "Others: samples=50000 says how many there are; data=path/to/folder counts images by class,\n"
    "data=path/to/table.csv label=COLUMN rows.\n"
    "For example: traintime forecast model=resnet50 data=imagenet epochs=90 device=rtx-3090"
)
