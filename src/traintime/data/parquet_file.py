"""The rows of a Parquet file, as text: what follows treats both kinds of file alike.

The one module that imports polars.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

from traintime.data.image_layout import listed
from traintime.data.table_file import TableFile
from traintime.errors import InputError, MissingExtraError


def parse_parquet(path: Path, content: bytes) -> TableFile:
    """Return the rows of a Parquet file.

    Args:
        path: Where it is, for messages.
        content: Of the file.

    Raises:
        InputError: It is none.
        MissingExtraError: polars is not installed.
    """
    if find_spec("polars") is None:
        raise MissingExtraError("Reading a Parquet file", "tables", "polars")
    import polars

    try:
        frame = polars.read_parquet(io.BytesIO(content))
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"'{path}' cannot be read as Parquet ({reason}). Write it anew, or as .csv"
        ) from None
    odd = [name for name, kind in frame.schema.items() if kind.is_nested() or kind == polars.Binary]
    frame = frame.drop(odd).with_columns(polars.all().cast(polars.String)).fill_null("")
    rows = [[cell.strip() for cell in row] for row in frame.iter_rows()]
    notes = (f"Left out, as they hold no single values: {listed(odd)}",) if odd else ()
    header = tuple(name or f"column {i + 1}" for i, name in enumerate(frame.columns))
    return TableFile(header, rows, list(range(1, len(rows) + 1)), {}, "row", notes=notes)
