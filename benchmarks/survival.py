"""What runs survive, in figures: the slow tests that kill, with what they counted on the way.

    python benchmarks/survival.py       # about ten minutes; `make test-slow` runs the same tests

The tests pass or fail for themselves. This script runs those of kills and of a large ledger, and
keeps what they noted: how many processes were killed, how many while a checkpoint was written, the
most training that was lost, and how long a million runs take to sum up.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import measured_on

ROOT = Path(__file__).parents[1]
KILLS, WRITERS, MILLION = (
    "test_a_hundred_kills_saves_included_lose_nothing",
    "test_eight_writers_killed_at_random_lose_nothing",
    "test_a_million_runs_are_answered_for_in_a_second",
)
FILES = ("tests/cli/test_kills.py", "tests/ledger/test_many_writers.py", "tests/cli/test_ledger.py")

Figures = dict[str, Any]


def main() -> None:
    """Run the tests and write what they noted."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime", "torch"])
    noted = _noted_by_tests()
    result = {
        "benchmark": "survival",
        "measured_on": facts,
        "kills": noted[KILLS],
        "writers": noted[WRITERS],
        "million": noted[MILLION],
    }
    measured_on.write(given.out, result)
    for name, figures in noted.items():
        print(name, *figures, sep="\n  ")
    print(f"Written to {given.out}")


def _noted_by_tests() -> dict[str, list[Figures]]:
    """Run the tests; return what each noted, by the name of the test.

    Raises:
        SystemExit: One of them failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "tests.xml")
        words = ["-m", "slow", "-k", " or ".join((KILLS, WRITERS, MILLION)), f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *FILES, *words, "-o", "junit_family=xunit1"]
        if subprocess.run(command, cwd=ROOT).returncode:
            raise SystemExit("A test failed; nothing is written")
        cases = list(ElementTree.parse(report).iter("testcase"))
    noted: dict[str, list[Figures]] = {}
    for case in cases:
        found = {item.get("name", ""): _value(item.get("value")) for item in case.iter("property")}
        noted.setdefault(case.get("name", "").partition("[")[0], []).append(found)
    return noted


def _value(text: str | None) -> Any:
    try:
        number = float(text or "")
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "survival.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
