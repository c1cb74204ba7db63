"""Where a step goes, by kind of operation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KindShare:
    """How much of a step one kind of operation takes."""

    kind: str
    seconds: float
    share: float
