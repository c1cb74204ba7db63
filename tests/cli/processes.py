"""Real processes of the product that start at once: forked from one that has imported everything.

What is tested is what a signal or a kill does to a process; that each of them would take seconds to
import torch tells nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.api.known_machine import records
from traintime.ledger.run_folder import RunFolder
from traintime.train.checkpoints import load_latest

PATIENCE_S = 120
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
IMPORTED = [
    "__main__",
    "tests.cli.processes",
    "traintime.api.demo",
    "traintime.api.session",
    "traintime.cli.display",
    "traintime.cli.main",
    "traintime.cli.verbs",
    "traintime.report.html",
]

JOB: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "hidden": (16,),
    "train_samples": 600,
    "batch_size": 64,
    "epochs": 4,
    "dropout": 0.2,
    "ema": 0.9,
    "device": "cpu",
    "precision": "fp32",
    "checkpoint_every_s": 1000,
}
"""Ten steps an epoch; nothing is saved unless somebody asks for it."""

Patch = Callable[[Path], object]
"""Done in a process before it begins; given the file that the process makes as a sign."""


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in ONE_THREAD.items():
            patched.setenv(name, value)
        forkserver.ensure_running()
    return context


class Started:
    """A process that was started as `traintime WORDS`.

    Args:
        home: Its TRAINTIME_HOME.
        words: As they are typed.
        patches: Done first.
    """

    count = 0

    def __init__(self, home: Path, words: Iterable[str], patches: Iterable[Patch] = ()) -> None:
        Started.count += 1
        self.sign = home / f"sign-{Started.count}"
        self._errors = home / f"errors-{Started.count}"
        self._process = _context().Process(
            target=_be_traintime,
            args=(home, tuple(words), tuple(patches), self.sign, self._errors),
            daemon=True,
        )
        self._process.start()

    @property
    def errors(self) -> str:
        """What it has printed on stderr."""
        return self._errors.read_text() if self._errors.is_file() else ""

    def wait_for(self, happened: Callable[[], object], every_s: float = 0.002) -> None:
        given_up_at = time.monotonic() + PATIENCE_S
        while not happened():
            assert self._process.exitcode is None, f"ended too early: {self.errors}"
            assert time.monotonic() < given_up_at, "nothing happened"
            time.sleep(every_s)

    def wait_for_sign(self) -> None:
        self.wait_for(self.sign.exists)

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid
        os.kill(self._process.pid, number)

    def ended(self) -> int:
        """Wait for its end; return its exit code, or the signal that killed it, negative."""
        self._process.join(PATIENCE_S)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def kill(self) -> bool:
        """Kill it; say whether it was still alive."""
        if self.is_alive:
            self.send(signal.SIGKILL)
        return self.ended() == -signal.SIGKILL


def run(home: Path, *words: str, patches: Iterable[Patch] = ()) -> None:
    """Let `traintime WORDS` run to a good end."""
    process = Started(home, words, patches)
    assert process.ended() == 0, process.errors


def only_run(home: Path) -> RunFolder:
    (folder,) = (home / "runs").iterdir()
    return RunFolder(folder)


def newest_step(folder: RunFolder) -> int:
    """Return the step that the run would go on from; 0 if it would start over."""
    checkpoint = load_latest(folder.checkpoints, pytest.fail)
    return checkpoint.state["step"] if checkpoint else 0


def assert_same_end(ours: RunFolder, whole: RunFolder) -> None:
    """Two runs have the same weights, the same records and the same scores."""
    weights, expected = (load_file(one.path / "model.safetensors") for one in (ours, whole))
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []
    steps, epochs, eta = (records(ours.path, name) for name in ("steps", "epochs", "eta"))
    assert [step["step"] for step in steps] == sorted({step["step"] for step in steps})
    for kept in (steps, epochs, eta):
        elapsed = [record["elapsed_s"] for record in kept]
        assert elapsed == sorted(elapsed)
    same = ("epoch", "train_loss", "validation_loss", "validation_accuracy", "step")
    assert [[record[key] for key in same] for record in epochs] == [
        [record[key] for key in same] for record in records(whole.path, "epochs")
    ]
    results = [one.read_json("result") for one in (ours, whole)]
    for key in ("status", "steps", "epochs", "test"):
        assert results[0][key] == results[1][key], key


def _be_traintime(
    home: Path, words: tuple[str, ...], patches: tuple[Patch, ...], sign: Path, errors: Path
) -> None:
    for path, descriptor in ((errors.with_suffix(".out"), 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ["TRAINTIME_HOME"] = str(home)
    sys.argv = ["traintime", *words]
    from traintime.cli.main import main

    torch.set_num_threads(1)
    for patch in patches:
        patch(sign)
    main()
