"""What every verb prints with: JSON, a display, paths. Nothing here is slow to import."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traintime.cli.display import Display


@contextmanager
def open_display() -> Generator[Display]:
    """Draw on the console until the verb has ended."""
    from traintime.cli.display import Display, make_console

    display = Display(make_console())
    try:
        yield display
    finally:
        display.close()


def print_json(values: Any) -> None:
    """Print one JSON document."""
    from traintime.cli.audience import Audience

    audience = Audience("stdout")
    audience.write(f"{json.dumps(values, ensure_ascii=False)}\n")
    audience.flush()


def shown_path(path: Path) -> str:
    """Return a path as short as it can be typed from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
