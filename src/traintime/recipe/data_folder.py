"""When `data=` names a folder of images or a table, and not one of the known data sets."""

from __future__ import annotations

import os
from pathlib import Path

KNOWN_DATA = ("mnist", "fashion-mnist", "cifar10", "digits")
"""A folder of such a name is typed with its path, so that a name means the same everywhere."""
TABLE_ENDINGS = (".csv", ".tsv", ".parquet")


def folder_named_by(data: str) -> Path | None:
    """Return the folder that `data=` names, absolute; None for a table or the name of a data set.

    Args:
        data: As it was typed. It is a path if it holds a separator, begins with '.' or '~', or is
            an existing folder. The folder that a path names need not exist.
    """
    is_path = os.sep in data or data.startswith((".", "~"))
    if not is_path and (fold_name(data) in _FOLDED or not Path(data).is_dir()):
        return None
    return None if table_named_by(data) else _absolute(data)


def table_named_by(data: str) -> Path | None:
    """Return the table that `data=` names, absolute; None for anything else.

    Args:
        data: As it was typed. What ends like a table is one, unless it is a folder; it need not
            exist.
    """
    if not data.lower().endswith(TABLE_ENDINGS) or Path(data).expanduser().is_dir():
        return None
    return _absolute(data)


def _absolute(data: str) -> Path:
    return Path(os.path.abspath(Path(data).expanduser()))  # noqa: PTH100  # Path.resolve would follow links


def fold_name(name: str) -> str:
    """Return a name without capitals and separators: fashion_mnist and Fashion-MNIST are one."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_FOLDED = frozenset(map(fold_name, KNOWN_DATA))
