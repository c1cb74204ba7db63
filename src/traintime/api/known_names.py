"""The models and data verbs: what `model=` and `data=` may name."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from traintime.data.catalogue import DATA_SETS
from traintime.data.known_sizes import KnownSize, find_size
from traintime.workload.known_models import KnownModel, known_models


def list_models() -> tuple[KnownModel, ...]:
    """Return the models that need no code: those of other libraries, then our trainer's."""
    return tuple(known_models())


def list_data() -> tuple[KnownSize, ...]:
    """Return the data sets whose sizes are known, by kind of sample and name."""
    others = files("traintime.data").joinpath("known_sizes.toml").read_text(encoding="utf-8")
    sizes = map(find_size, (*DATA_SETS, *tomllib.loads(others)))
    return tuple(sorted(sizes, key=lambda size: (size.unit, size.name)))
