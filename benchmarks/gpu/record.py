"""The record of a measurement: a file of rows that is written as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

import measured_on

WRITE_EVERY_S = 5.0
Row = dict[str, Any]
RowOf = Callable[[int], Row]


@dataclass
class Record:
    """The result as it grows, and the file that it goes to."""

    path: Path
    result: dict[str, Any]
    written_s: float = field(default_factory=time.perf_counter)

    def write(self, *, at_once: bool = True) -> None:
        """Write the file, or not if it was just written."""
        if at_once or time.perf_counter() - self.written_s > WRITE_EVERY_S:
            measured_on.write(self.path, self.result)
            self.written_s = time.perf_counter()

    def add_rows(self, table: str, labels: Sequence[str], row_of: RowOf, until_s: float) -> None:
        """Add the rows of all cases, or of as many as there is time for.

        Args:
            table: "ops" or "steps".
            labels: Of the cases.
            row_of: Measures the case with a number.
            until_s: By `time.perf_counter`.
        """
        for number, label in enumerate(labels):
            if time.perf_counter() > until_s:
                left = f"no time for {len(labels) - number} of {len(labels)}"
                self.result["problems"].append({"case": table, "problem": left})
                break
            self.add(table, label, partial(row_of, number))

    def add(self, table: str, label: str, measure: Callable[[], Row]) -> None:
        """Add a row, or why there is none; memory that ran out is freed and tried once more.

        Raises:
            SystemExit: The device takes nothing any more.
        """
        try:
            row = _with_second_chance(measure)
        except Exception as error:
            self.result["problems"].append({"case": label, "problem": first_line(error)})
            if _takes_nothing_more():
                self.write()
                raise SystemExit(
                    f"{label}: {error}\nWhat was measured before: {self.path}"
                ) from error
        else:
            self.result[table].append(row)
        self.write(at_once=False)


def _with_second_chance(measure: Callable[[], Row]) -> Row:
    try:
        return measure()
    except torch.OutOfMemoryError:
        pass  # outside, nothing holds the failed call's tensors any more
    torch.cuda.empty_cache()
    return measure()


def _takes_nothing_more() -> bool:
    """Say whether an error has left CUDA such that it repeats it for whatever is asked next."""
    if not torch.cuda.is_available():
        return False
    try:
        return torch.zeros(1, device="cuda").item() != 0
    except RuntimeError:
        return True


def first_line(error: Exception) -> str:
    """Return what kind of error it is, and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
