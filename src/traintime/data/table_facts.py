"""What is known of a table without its rows; a run keeps it. This module imports no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from traintime.units import plural


@dataclass(frozen=True)
class TableFacts:
    """What is known of a table, as a recipe uses it.

    Args:
        label: The column that holds the classes.
        sha256: Of the file.
        key: Of the copy of its prepared rows.
        prepared_sha256: Of what is prepared, however often it is.
        rows: That stand in the file, usable or not.
        used: That the parts are drawn from.
        classes: Their names, in the order of the labels.
        features: Names of what a network is given, in its order.
        skipped: Rows that cannot be used, "line 17", and why.
        repeats: Rows that are left out since they repeat another.
        left_out: Columns that are, and why.
        repaired: Columns with cells that cannot be used, and what stands in for them.
        notes: What is not plain to see of how the file was understood.
    """

    label: str
    sha256: str
    key: str
    prepared_sha256: str
    rows: int
    used: int
    classes: tuple[str, ...]
    features: tuple[str, ...]
    skipped: Mapping[str, str]
    repeats: int
    left_out: Mapping[str, str]
    repaired: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """Features that a network is given of a row."""
        return len(self.features)

    def said(self, title: str) -> str:
        """Say what was read, for the assumptions of a forecast."""
        skipped = f", {len(self.skipped):,} of which cannot be used" if self.skipped else ""
        return (
            f"'{title}' is read and a copy is kept: {self.rows:,} rows{skipped}, "
            f"{plural(self.width, 'feature')}, {len(self.classes)} classes"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableFacts:
        """Return the facts that `to_json` made plain."""
        lists: dict[str, Any] = {
            name: tuple(values[name]) for name in ("classes", "features", "notes")
        }
        return cls(**{**values, **lists})
