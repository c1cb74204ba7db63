"""Run a contender as a process of its own and hold the clock from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Finished:
    """What came of a process.

    Args:
        outcome: The JSON object it printed; empty if it printed none.
        seconds_to_outcome: From the start of the process until it had printed that.
        seconds_to_exit: From its start to its end.
        cores_used_by_others: Cores that other processes kept busy meanwhile, on average.
        timed_out: Whether it was ended before it had an outcome.
        problem: Why there is no outcome; empty if there is one.
    """

    outcome: dict[str, Any]
    seconds_to_outcome: float
    seconds_to_exit: float
    cores_used_by_others: float
    timed_out: bool
    problem: str


def run(command: list[str], timeout_s: float, threads: int | None = None) -> Finished:
    """Start a process in an empty folder and wait for its outcome.

    Args:
        command: What to start.
        timeout_s: Seconds after which it is ended.
        threads: Threads of its numerical libraries; their own choice by default.
    """
    environment = dict(os.environ)
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        tempfile.TemporaryFile() as errors,
    ):
        began_s, began_busy_s = time.perf_counter(), _cpu_used_by_others_s()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,  # so that a timeout ends what it started, too
        )
        timer = threading.Timer(timeout_s, _end, [process])
        timer.start()
        outcome, outcome_s = _read_outcome(process)
        process.wait()
        timer.cancel()
        ended_s, ended_busy_s = time.perf_counter(), _cpu_used_by_others_s()
        errors.seek(0)
        last_words = errors.read().decode(errors="replace").strip().splitlines()[-1:]
    others = round(max(ended_busy_s - began_busy_s, 0) / (ended_s - began_s), 3)
    if process.returncode == 0 and outcome:
        return Finished(outcome, outcome_s - began_s, ended_s - began_s, others, False, "")
    problem = f"exit code {process.returncode}: {' '.join(last_words) or 'no outcome printed'}"
    timed_out = ended_s - began_s >= timeout_s
    if timed_out:
        problem = f"not done after {timeout_s:g} s"
    return Finished({}, ended_s - began_s, ended_s - began_s, others, timed_out, problem)


def _read_outcome(process: subprocess.Popen[str]) -> tuple[dict[str, Any], float]:
    """Return the last JSON object among what a process prints, and when its last line was read."""
    assert process.stdout
    outcome, read_s, text = {}, time.perf_counter(), ""
    for line in process.stdout:
        # An indented object spans lines; anything before its opening brace is a progress bar's.
        text = line if line.startswith("{") else text + line if text else ""
        if not text.rstrip().endswith("}"):
            continue
        try:
            outcome, read_s, text = json.loads(text), time.perf_counter(), ""
        except json.JSONDecodeError:
            continue
    return outcome, read_s


def _cpu_used_by_others_s() -> float:
    """Return the CPU seconds so far that went neither to this process nor to its children."""
    times = psutil.cpu_times()
    busy_s = times.user + getattr(times, "nice", 0.0) + times.system + getattr(times, "steal", 0.0)
    own = os.times()
    return busy_s - own.user - own.system - own.children_user - own.children_system


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
