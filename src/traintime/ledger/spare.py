"""A run's small files once more, with checksums, so that a damaged one can be put right.

They all stand in spare.json. It is written first: after a crash in between, the file that is
restored is the newer one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import cast

from traintime.errors import RunFolderError
from traintime.ledger.atomic import write_bytes_atomically

SPARE = "spare.json"


def write_with_spare(path: Path, text: str) -> None:
    """Write a file whole, and once more into spare.json beside it.

    Raises:
        StorageError: The disk refused.
    """
    spares = _read_spares(path.parent)
    spares[path.name] = {"sha256": _digest(text.encode()), "text": text}
    content = json.dumps(spares, indent=1, ensure_ascii=False)
    write_bytes_atomically(path.parent / SPARE, content.encode())
    write_bytes_atomically(path, text.encode())


def restore(path: Path) -> str:
    """Put a file right that is missing or not as it was written, if its spare is whole.

    What was found instead is kept under another name: it may be a change that someone made.

    Returns:
        What was done, in a sentence; nothing where nothing had to be or could be done.

    Raises:
        RunFolderError: The file cannot be read, and not for being missing.
        StorageError: The disk refused.
    """
    spare = _read_spares(path.parent).get(path.name, {})
    text, digest = spare.get("text", ""), spare.get("sha256")
    try:
        found = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise RunFolderError(f"'{path}' cannot be read ({error.strerror})") from None
    if digest != _digest(text.encode()) or (found is not None and digest == _digest(found)):
        return ""
    done = "was missing"
    if found is not None:
        aside = path.with_name(f"{path.name}.damaged")
        write_bytes_atomically(aside, found)
        done = f"was not as it had been written (now '{aside.name}')"
    write_bytes_atomically(path, text.encode())
    return f"{path.name} {done}; it was restored from {SPARE}"


def _read_spares(folder: Path) -> dict[str, dict[str, str]]:
    try:
        spares = json.loads((folder / SPARE).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(spares, dict):
        return {}
    return {
        str(name): {str(key): str(value) for key, value in cast("dict[str, str]", spare).items()}
        for name, spare in cast("dict[str, object]", spares).items()
        if isinstance(spare, dict)
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
