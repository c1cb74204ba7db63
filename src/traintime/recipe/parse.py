"""Recipes from `key=value` words, YAML files and keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from traintime.errors import InputError, nearest
from traintime.recipe.recipe import Recipe

SHOW_FIELDS = "`traintime train --help` explains each field."
AS_TYPED = ("budget", "data", "label")
"""YAML 1.1 takes 17:30 for a number, and paths and names of columns hold anything."""
MISFIT = "The recipe does not fit together"
DATA_FILES = (".csv", ".tsv", ".parquet", ".pq")
EXPECTED = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "one word",
    "finite_number": "a finite number",
}
"""How pydantic's kinds of problems begin, and what each expects."""
WRITTEN_OUT = 1e12
"""Whole numbers up to that are shown with all of their digits."""


def read_recipe(words: Iterable[str] = (), **fields: Any) -> Recipe:
    """Return the recipe that the words and fields describe.

    Args:
        words: `key=value`, or the path of a YAML file; later ones win.
        **fields: Fields by name; they win over the words.

    Raises:
        InputError: A word is neither, a key is unknown, or a value is out of its range.
    """
    return make_recipe(read_fields(words, **fields))


def read_fields(words: Iterable[str] = (), **fields: Any) -> dict[str, Any]:
    """Return fields by name, before anybody has checked them.

    Args:
        words: `key=value`, or the path of a YAML file; later ones win.
        **fields: Fields by name; they win over the words.

    Raises:
        InputError: A word is neither.
    """
    values: dict[str, Any] = {}
    for word in words:
        values |= _read_word(word)
    return values | fields


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Validate fields and return the recipe; the message names the field and what it expects."""
    for key in values:
        if key not in Recipe.model_fields:
            near = nearest(key, Recipe.model_fields)
            hint = f"Did you mean '{near}'? " if near else ""
            if key.casefold() == "pilot":
                hint = "pilot=10 is for `traintime forecast`; a run tries its steps by itself. "
            raise InputError(f"A recipe has no field '{key}'. {hint}{SHOW_FIELDS}")
    for key, example in (("data", "mnist"), ("model", "lenet")):
        if key not in values:
            raise InputError(f"The recipe names no {key}; type for example {key}={example}")
    values = without_none(values)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join([*explain(error, values, MISFIT), SHOW_FIELDS])) from None


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with None where 'none' was typed."""
    return {key: None if value == "none" else value for key, value in values.items()}


def _read_word(word: str) -> dict[str, Any]:
    key, equals, text = word.partition("=")
    if equals:
        key = key.strip().replace("-", "_")
        return {key: text if key in AS_TYPED else _read_value(word, text)}
    path = Path(word).expanduser()
    if path.suffix in (".yaml", ".yml"):
        return _read_yaml(path)
    like = "data" if path.suffix in DATA_FILES else "model"
    example = f"{word}=..." if word in Recipe.model_fields else f"{like}={word}"
    raise InputError(f"'{word}' is neither key=value nor a YAML file; type for example {example}")


def _read_value(word: str, text: str) -> Any:
    """Read what stands behind the equals sign as YAML, so that 3, 1e-3, true and [1, 2] work."""
    try:
        return float(text)  # YAML 1.1 takes 1e-3 for a string
    except ValueError:
        pass
    try:
        value = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):  # YAML takes 2020-13-45 for a date
        raise InputError(
            f"The value of '{word}' cannot be read; `traintime train --help` and "
            "`traintime forecast --help` say what each field takes"
        ) from None
    if isinstance(value, str) and "," in value:
        return tuple(part.strip() for part in value.split(","))
    return text if isinstance(value, dict) else value  # YAML takes hf: for a table


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no recipe file '{path}'; check the path with: ls") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"'{path}' cannot be read as YAML ({reason}). Lines look like: data: mnist"
        ) from None
    if not isinstance(loaded, dict):
        raise InputError(f"'{path}' holds no 'key: value' lines; write for example data: mnist")
    return {str(key): value for key, value in loaded.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def explain(error: ValidationError, values: Mapping[str, Any], misfit: str) -> list[str]:
    """Turn pydantic's report into one line per field.

    Args:
        error: The report.
        values: The fields that it is about.
        misfit: What to say of fields that do not fit together.
    """
    lines: dict[str, str] = {}
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else ""
        subject = f"{field}={_show(values[field])} does not work" if field else misfit
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            reason = "a value is missing"
        for kind, expected in EXPECTED.items():
            if problem["type"].startswith(kind):
                reason = f"{expected} is expected"
        lines.setdefault(field, f"{subject}: {reason[0].lower()}{reason[1:]}.")
    return list(lines.values())


def _show(value: Any) -> str:
    """Return a value as it would be typed."""
    if isinstance(value, list | tuple):
        return ",".join(_show(part) for part in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float) and value.is_integer() and abs(value) < WRITTEN_OUT:
        return str(int(value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
