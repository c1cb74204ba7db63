"""Runs whose terminal is closed, or whose output nobody reads to its end."""

import io
import os
import pty
import select
import sys
from functools import partial
from pathlib import Path

import pytest

import traintime
from tests.api.known_machine import QUICK, as_words, records
from tests.cli.processes import Started, newest_step, only_run
from traintime.cli.audience import Audience


def read_nothing(sign: Path) -> None:
    """Be piped into something that has ended, as `| head -1` has."""
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(reading)
    os.close(writing)


def take_terminal(sign: Path, path: str) -> None:
    """Be the process that a terminal was opened for."""
    os.setsid()
    terminal = os.open(path, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(terminal, stream)
    os.close(terminal)


def test_a_run_whose_output_nobody_reads_comes_to_its_end(home: Path) -> None:
    process = Started(home, ["train", *as_words(**QUICK)], [read_nothing])
    assert process.ended() == 0, process.errors
    assert traintime.list_runs()[0].status == "finished"


def test_a_run_whose_terminal_is_closed_is_saved(home: Path) -> None:
    outside, inside = pty.openpty()
    words = as_words(**{**QUICK, "epochs": 5000})
    process = Started(home, ["train", *words], [partial(take_terminal, path=os.ttyname(inside))])

    def has_drawn_an_epoch() -> bool:
        if select.select([outside], [], [], 0)[0]:
            os.read(outside, 2**16)
        return any(path.stat().st_size for path in home.glob("runs/*/epochs.jsonl"))

    process.wait_for(has_drawn_an_epoch)
    os.close(inside)
    os.close(outside)
    assert process.ended() == 143
    assert traintime.list_runs()[0].status == "stopped"
    folder = only_run(home)
    assert newest_step(folder) == records(folder.path, "steps")[-1]["step"] > 0


def test_signs_that_the_reader_does_not_have_are_question_marks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", narrow)
    Audience("stdout").write("lr 0.02 → 0.01 · Zürich")
    narrow.flush()
    assert narrow.buffer.getvalue().decode("latin-1") == "lr 0.02 ? 0.01 · Zürich"


def test_output_that_was_closed_before_the_start_is_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    Audience("stdout").write("anything")
    Audience("stdout").flush()
