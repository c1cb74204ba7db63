"""The models and data verbs: call the library, then print what it returned."""

from __future__ import annotations

import dataclasses

from traintime.api.known_names import list_data, list_models
from traintime.cli.display import make_console
from traintime.cli.output import print_json
from traintime.report.known_names import data_table, model_table


def show_models(*, as_json: bool) -> None:
    """List the models that `model=` may name."""
    models = list_models()
    if as_json:
        print_json([dataclasses.asdict(model) for model in models])
        return
    make_console().print(model_table(models))


def show_data(*, as_json: bool) -> None:
    """List the data sets that `data=` may name."""
    sizes = list_data()
    if as_json:
        print_json([dataclasses.asdict(size) for size in sizes])
    else:
        make_console().print(data_table(sizes))
