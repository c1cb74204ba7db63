"""Every command of the README is executed, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
INSTALLED = {"make demo": "traintime demo"}
"""What a make target runs once everything is installed, as it is where the tests run."""
SETUP = ("git ", "cd ", "make ", "pip ")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of its own, so that nothing that was made before plays a part."""
    return tmp_path_factory.mktemp("readme")


def run(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRAINTIME_HOME": str(home), "CI": "true"}
    done = subprocess.run(
        arguments, cwd=home, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_readme_shows_at_least_five_uses():
    assert len([line for line in CONSOLE if line.startswith("traintime ")]) >= 5


def test_the_commands_of_the_readme_work(home):
    for line in (INSTALLED.get(line, line) for line in CONSOLE):
        if line.startswith(SETUP):
            continue
        program, *words = shlex.split(line, comments=True)
        assert program == "traintime", f"not a command of ours: {line}"
        done = run([sys.executable, "-m", "traintime", *words], home)
        assert "Traceback" not in done.stderr


def test_the_make_targets_of_the_readme_exist():
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [line.split()[1] for line in CONSOLE if line.startswith("make ")]
    assert set(named) >= {"demo", "test"}
    assert set(named) <= set(targets)


def test_the_python_of_the_readme_works(home):
    assert PYTHON
    for block in PYTHON:
        run([sys.executable, "-c", block], home)


def test_the_pictures_of_the_readme_are_there():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture
