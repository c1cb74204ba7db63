"""How the samples of a run come to its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class InputPlan:
    """How the samples of a run come to its steps.

    Args:
        cache: Where images are kept once they are decoded: "memory"; "disk"; or "none", and they
            are decoded again for each batch.
        workers: Processes that gather batches ahead; 0 gathers each when it is wanted.
        said: Why it is so, for the assumptions of a forecast; "" if there was nothing to decide.
    """

    cache: Literal["memory", "disk", "none"] = "memory"
    workers: int = 0
    said: str = ""

    @property
    def is_resident(self) -> bool:
        """Whether all samples stay in memory, and on the device."""
        return self.cache == "memory"


IN_MEMORY = InputPlan()
AHEAD = 2
"""Batches that are begun ahead for each worker."""


def num_slots(workers: int) -> int:
    """Return for how many batches there is room: those ahead, and the one that is used."""
    return AHEAD * workers + 1
