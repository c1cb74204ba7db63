"""Make the virtual environments that the peers live in, so that traintime's own stays clean.

    python benchmarks/environments.py                # all of them, or again after a change of pins
    python benchmarks/environments.py torch          # one of them

Each environment NAME holds what `peers/requirements-NAME.txt` pins.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".environments"
OURS = "traintime"
PEERS = ("torch", "tensorflow", "models", "estimators")

_LIST_PACKAGES = """
import importlib.metadata, json, platform
packages = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), **dict(sorted(packages.items()))}))
"""


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment; traintime's own is the one that runs now."""
    if environment == OURS:
        return Path(sys.executable)
    folder = FOLDER / environment
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@cache
def packages_in(environment: str) -> dict[str, str]:
    """Return Python's and every package's version; nothing where the environment is missing."""
    python = python_of(environment)
    if not python.exists():
        return {}
    printed = subprocess.run([python, "-c", _LIST_PACKAGES], capture_output=True, check=True)
    return json.loads(printed.stdout)


def make(environment: str) -> None:
    """Make an environment or bring it to its pins."""
    print(f"Installing the peers of '{environment}' ...", flush=True)
    python = python_of(environment)
    if not python.exists():
        venv.create(FOLDER / environment, with_pip=True)
    pins = HERE / "peers" / f"requirements-{environment}.txt"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # pip takes a package that is named by its path to lie below the folder it was started in.
    subprocess.run([*install, "-r", pins], check=True, cwd=pins.parent)


def main() -> None:
    """Make the environments that the command line names."""
    parser = argparse.ArgumentParser(description="Make the virtual environments of the peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PEERS)}; default all")
    names = parser.parse_args().names or PEERS
    for name in names:
        if name not in PEERS:
            parser.error(f"no environment named '{name}'; there are {', '.join(PEERS)}")
    for name in names:
        make(name)


if __name__ == "__main__":
    main()
