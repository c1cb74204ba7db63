"""Default values of a recipe that depend on its model, data set and optimizer.

`presets.toml` holds them, most general first: a table per optimizer, a table per model, and in it a
table per data set. A learning rate belongs to its optimizer and batch size: it follows when either
is changed.
"""

from __future__ import annotations

import math
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from traintime.recipe.data_folder import fold_name, folder_named_by, table_named_by

Values = dict[str, Any]


@cache
def _tables() -> dict[str, Values]:
    text = files("traintime.recipe").joinpath("presets.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def preset(model: str, data: str) -> Values:
    """Return the recommended values for a model on a data set; general ones if it is not known."""
    tables = _tables()
    of_model = tables["model"].get(model, {})
    by_data = {fold_name(key): value for key, value in of_model.items() if isinstance(value, dict)}
    values = {key: value for key, value in of_model.items() if not isinstance(value, dict)}
    values = {**tables["any"], **values}
    if folder_named_by(data):
        return {"batch_size_of_lr": values["batch_size"], **values, **tables["own_images"]}
    if table_named_by(data):
        return {**values, **tables["own_table"]}
    return {**values, **by_data.get(fold_name(data), {})}


def fill_in(given: Values) -> Values:
    """Return the given values completed by the preset of their model and data set.

    The learning rate follows a changed batch size: in proportion for SGD (Goyal et al. 2017,
    "Accurate, Large Minibatch SGD"), with its square root for the others (Malladi et al. 2022, "On
    the SDEs and Scaling Rules for Adaptive Gradient Algorithms").
    """
    known = preset(str(given.get("model")), str(given.get("data")))
    optimizer = given.get("optimizer", known["optimizer"])
    if optimizer != known["optimizer"]:
        known |= _tables()["optimizer"].get(str(optimizer), {}) | {"batch_size_of_lr": 128}
    batch_size = given.get("batch_size", known["batch_size"])
    reference = known.pop("batch_size_of_lr", known["batch_size"])
    known["lr"] = _scaled_lr(known["lr"], optimizer, batch_size, reference)
    return {**known, **given}


def _scaled_lr(lr: float, optimizer: str, batch_size: object, reference: int) -> float:
    try:
        ratio = float(str(batch_size)) / reference
    except ValueError:
        return lr  # the field's own validation will say what is wrong with it
    if not 0 < ratio < math.inf or ratio == 1:
        return lr
    return float(f"{lr * (ratio if optimizer == 'sgd' else math.sqrt(ratio)):.4g}")
