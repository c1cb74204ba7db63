import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import traintime
from tests.ledger.rows import ROW
from traintime.api.runs import find_run
from traintime.cli.ledger import runs_list
from traintime.cli.main import app
from traintime.errors import RunFolderError
from traintime.hardware.machine import detect_machine
from traintime.ledger.database import COLUMNS, Ledger
from traintime.ledger.paths import ledger_path

listing = typer.Typer()
listing.command()(runs_list)


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def list_runs(*words: str) -> Result:
    return CliRunner().invoke(listing, list(words))


def fill(count: int, **changes: Any) -> None:
    ledger = Ledger(ledger_path())
    for number in range(count):
        ledger.put(replace(ROW, name=f"run-{number}", **changes))


# traintime ledger


def test_the_ledger_tells_how_runs_ended_and_how_good_forecasts_were(home: Path) -> None:
    here = detect_machine(home).key
    done = replace(ROW, status="finished", machine=here, model="lenet")
    for number, took in enumerate((8.0, 10.0, 12.5, 20.0)):  # errors 0.25, 0, 0.2, 0.5
        row = replace(done, name=str(number), forecast_s=10.0, total_s=took)
        Ledger(ledger_path()).put(replace(row, forecast_low_s=8.0, forecast_high_s=12.5))
    Ledger(ledger_path()).put(replace(ROW, status="failed"))
    lines = [line.strip() for line in type_in("ledger").stdout.splitlines()]
    assert f"Ledger       {home / 'ledger.sqlite'}" in lines
    assert any(line.startswith("5 runs · 2025-11-20 · ") for line in lines)
    assert any(line.split()[:3] == ["Runs", "finished", "4"] for line in lines)
    assert any(line.split()[:2] == ["failed", "1"] for line in lines)
    assert "Forecasts    4 held against what the finished runs took" in lines
    assert "75.0 % took as long as their 80 % interval said" in lines
    assert "22.5 % median error, 50.0 % or less in 90 % of the runs" in lines
    assert f"Here         {here}" in lines
    assert ["lenet", "4", "75.0", "%", "22.5", "%", "50.0", "%"] in map(str.split, lines)


def test_without_a_run_the_answer_is_how_to_make_one(home: Path) -> None:
    assert type_in("ledger").stdout == "No run yet; make one with: traintime demo\n"
    assert not (home / "ledger.sqlite").exists()


def test_json_and_python_say_the_same(home: Path) -> None:
    fill(3, status="finished", total_s=20.0)
    found = json.loads(type_in("ledger", "--json").stdout)
    assert found == traintime.ledger_summary().to_json()
    assert (found["runs"], found["by_status"]) == (3, {"finished": 3})
    assert found["forecasts"]["within"] == 3
    assert found["path"] == str(home / "ledger.sqlite")


def test_without_a_finished_run_there_is_nothing_to_hold_forecasts_against() -> None:
    fill(1, status="failed")
    assert "none yet of a run that is finished" in type_in("ledger").stdout
    assert traintime.ledger_summary().forecasts.median_error is None


def test_a_run_whose_process_is_gone_is_counted_as_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(3)
    assert traintime.ledger_summary().by_status == {"interrupted": 3}
    monkeypatch.setattr("traintime.api.ledger.MOST_LOOKED_AT", 2)
    found = traintime.ledger_summary().by_status
    assert found == {"interrupted": 2, "running or interrupted": 1}


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_what_is_shown_fits_the_terminal(width: int, home: Path) -> None:
    fill(3, status="finished", total_s=20.0, machine=detect_machine(home).key)
    result = CliRunner(env={"COLUMNS": str(width), "FORCE_COLOR": "1"}).invoke(app, ["ledger"])
    assert result.exit_code == 0
    assert "…" not in result.stdout


def test_a_damaged_ledger_is_refused_with_what_to_type(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "ledger.sqlite").write_bytes(b"garbage" * 999)
    result = type_in("ledger")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "mv '" in result.stderr
    assert "Traceback" not in result.output


# traintime runs list


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traintime.cli.ledger.SHOWN", 10)
    fill(12, status="finished")


@pytest.mark.usefixtures("few")
def test_the_newest_are_listed_and_the_others_counted() -> None:
    lines = list_runs().stdout.splitlines()
    assert len(lines) == 1 + 10 + 1
    assert lines[1].startswith("run-11 ")
    assert lines[10].startswith("run-2 ")
    assert lines[-1].strip() == "... and 2 more; --all shows them, --limit N so many"


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("words", "rows", "says_more"),
    [(["--limit", "2"], 2, True), (["--limit", "20"], 12, False), (["--all"], 12, False)],
)
def test_more_or_fewer_can_be_listed(words: list[str], rows: int, says_more: bool) -> None:
    text = list_runs(*words).stdout
    assert text.count("run-") == rows
    assert ("more" in text) == says_more


@pytest.mark.usefixtures("few")
def test_json_has_all_runs_unless_a_limit_is_given() -> None:
    assert len(json.loads(list_runs("--json").stdout)) == 12
    assert len(json.loads(list_runs("--json", "--limit", "2").stdout)) == 2


@pytest.mark.parametrize("words", [["--limit", "0"], ["--limit", "-1"], ["--limit", "many"]])
def test_a_limit_that_is_none_is_refused(words: list[str]) -> None:
    assert list_runs(*words).exit_code == 2


# A million runs

MILLION = 1_000_000


@pytest.fixture(scope="module")
def full_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a ledger of a million runs, as an older version left it."""
    home = tmp_path_factory.mktemp("full")
    Ledger(home / "ledger.sqlite").put(ROW)
    put = f"INSERT INTO runs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        made = connection.execute("SELECT type, name FROM sqlite_master WHERE sql LIKE 'CREATE %'")
        for kind, name in made.fetchall():
            if kind != "table":
                connection.execute(f"DROP {kind} {name}")
        connection.execute("PRAGMA user_version = 1")
        connection.executemany(put, many_rows(detect_machine(home).key))
        connection.commit()
    Ledger(home / "ledger.sqlite").rows(1)
    return home


def many_rows(here: str) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(1)
    number_of = {name: number for number, name in enumerate(COLUMNS)}
    values = list(astuple(replace(ROW, device="cpu", software="traintime 0.1.0, torch 2.6.0")))
    statuses = ["finished"] * 7 + ["target reached", "running", "stopped"]
    for number in range(MILLION - 1):
        status = statuses[number % 10]
        changes = {
            "name": f"20251120-080000-mnist-lenet-{number}",
            "folder": f"/home/somebody/runs/20251120-080000-mnist-lenet-{number}",
            "status": status,
            "model": f"model {number % 37}",
            "machine": (here, "Cray-1 x1")[number % 3 == 0],
            "total_s": 21 * chance.lognormvariate(0, 0.15) if number % 10 < 8 else None,
            "step_s": 0.02,
            "uncorrected_step_s": 0.021,
        }
        for name, value in changes.items():
            values[number_of[name]] = value
        yield tuple(values)


def seconds(home: Path, *words: str) -> float:
    """Return the processor seconds of a command, that other work does not stretch."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "traintime", *words]
    environment = {**os.environ, "TRAINTIME_HOME": str(home)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("words", [["ledger"], ["ledger", "--json"], ["runs", "list"]])
def test_a_million_runs_are_answered_for_in_a_second(
    full_home: Path, words: list[str], record_property: Callable[[str, object], None]
) -> None:
    fastest_s = min(seconds(full_home, *words) for _ in range(3))
    assert fastest_s < 1.0
    record_property("command", " ".join(words))
    record_property("seconds", fastest_s)


@pytest.mark.slow
def test_a_million_runs_are_summed_up_exactly(
    full_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINTIME_HOME", str(full_home))
    summary = traintime.ledger_summary()
    assert summary.runs == MILLION
    assert summary.forecasts.runs == sum(number % 10 < 8 for number in range(MILLION - 1))
    # The median of |exp(x) - 1| for x of a normal distribution with sigma 0.15: about 0.15 · 0.674
    assert summary.forecasts.median_error == pytest.approx(0.101, abs=0.002)


@pytest.mark.slow
def test_a_run_is_found_among_a_million_in_milliseconds(
    full_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINTIME_HOME", str(full_home))
    began = time.process_time()
    for name in ("latest", f"20251120-080000-mnist-lenet-{MILLION // 2}"):
        with pytest.raises(RunFolderError, match="is gone"):
            find_run(name)
    assert time.process_time() - began < 0.1
    with pytest.raises(RunFolderError, match="Did you mean '20251120-080000-mnist-lenet-9"):
        find_run("20251120-080000-mnist-lenet-999998x")
    assert time.process_time() - began < 1.0
