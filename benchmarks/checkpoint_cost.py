"""What checkpoints cost a run: the training thread's part of each, and whole runs with and without.

    python benchmarks/checkpoint_cost.py       # `--quick` for a first look

The first table takes the writer alone, by the size of what is saved, with all ways in turn: behind
training (the default), at once, and `torch.save` to a file that is not synced, the usual way. The
second takes whole runs that save far more often than they would, in turn with runs that never save,
and makes of the difference the share of a run's time at the default interval.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from traintime.hardware.threads import share_processor

share_processor()  # as a run does, before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import measured_on
import processes
from contenders import TRAINTIME
from traintime.architecture import network_for
from traintime.data.catalogue import find
from traintime.hardware.allocator import keep_freed_memory
from traintime.models.build import build
from traintime.recipe import Recipe, read_recipe
from traintime.train.checkpoint_writer import CheckpointWriter
from traintime.train.checkpoints import Checkpoint
from traintime.train.optimizers import OPTIMIZERS

DEFAULT_INTERVAL_S = Recipe.model_fields["checkpoint_every_s"].default
NEVER_S = 86_400
MLP_PARAMETERS = 100_000_000
STATE = {"step": 1000, "seconds": {"train": 12.5}, "best": None}
STATES = {
    "lenet, adam": ("data=mnist", "model=lenet", "optimizer=adam"),
    "resnet18, adam": ("data=cifar10", "model=resnet18", "optimizer=adam"),
    "mlp of 100M, adam": (),
}
RUNS = {
    "lenet on mnist": ("data=mnist", "model=lenet", "optimizer=adam", "epochs=8"),
    "resnet18 on cifar10, adam": (
        *("data=cifar10", "model=resnet18", "optimizer=adam"),
        *("train_samples=1024", "batch_size=32", "epochs=1"),
    ),
    "resnet18 on cifar10, muon": (
        *("data=cifar10", "model=resnet18", "optimizer=muon"),
        *("train_samples=1024", "batch_size=32", "epochs=1"),
    ),
}

Result = dict[str, Any]


def main() -> None:
    """Measure, print both tables and write the result."""
    given = _arguments()
    facts = measured_on.measured_on(["traintime", "torch"])
    console = Console()
    result: Result = {"benchmark": "checkpoint_cost", "measured_on": facts}
    result["interval_s"] = DEFAULT_INTERVAL_S
    keep_freed_memory()  # as a run does
    result["writer"] = [_cost_of_writing(name, given.rounds, given.folder) for name in STATES]
    console.print(_writer_table(result["writer"]))
    measured_on.write(given.out, result)
    result["runs"] = []
    for name in RUNS if given.runs else ():
        result["runs"].append(_cost_of_runs(name, given.runs, given.every))
        measured_on.write(given.out, result)
    if result["runs"]:
        console.print(_runs_table(result["runs"], given.every))
    others = [run["cores_used_by_others"] for run in result["runs"]]
    console.print(measured_on.in_words(facts, max(others, default=None)), highlight=False)
    console.print(f"Written to {given.out}", highlight=False)


# The writer alone


def _cost_of_writing(name: str, rounds: int, folder: Path) -> Result:
    """Time each way once a round, in turn."""
    tensors = _tensors(name)
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=folder) as kept:
        behind = CheckpointWriter(Path(kept, "behind"), _ignore, _fail)
        at_once = CheckpointWriter(Path(kept, "at once"), _ignore, _fail, background=False)
        checkpoint = Checkpoint(tensors, STATE)

        def submit_behind(step: int) -> None:
            behind.submit(step, checkpoint)

        def submit_at_once(step: int) -> None:
            at_once.submit(step, checkpoint)

        def usual_way(step: int) -> None:
            torch.save({"tensors": tensors, "state": STATE}, Path(kept, f"{step % 2}.pt"))

        for step in range(rounds + 1):
            # The first copy also takes the memory, so it stays apart.
            suffix = "_s" if step else "_first_s"
            _note(times, f"behind{suffix}", submit_behind, step)
            _note(times, f"written{suffix}", lambda _: behind.wait(), step)
            _note(times, f"at_once{suffix}", submit_at_once, step)
            _note(times, f"torch_save{suffix}", usual_way, step)
        polls = [_seconds(lambda _: behind.poll(), 0) for _ in range(1000)]
        return {
            "name": name,
            "state_bytes": sum(tensor.nbytes for tensor in tensors.values()),
            "snapshot_bytes": behind.snapshot_bytes,
            "n": rounds,
            "poll_s": median(polls),
            "times": times,
        }


def _tensors(name: str) -> dict[str, Tensor]:
    """Return what a checkpoint of the work holds: parameters and Adam's two vectors."""
    words = STATES[name]
    count = MLP_PARAMETERS
    if words:
        recipe = read_recipe(list(words))
        facts = find(recipe.data)
        module = build(network_for(recipe, facts.shape, facts.num_classes))
        count = sum(parameter.numel() for parameter in module.parameters())
    slots = OPTIMIZERS["adam"].slots
    return {
        name: torch.randn(count)
        for name in ("parameters", *(f"optimizer.{slot}" for slot in slots))
    }


def _note(
    times: dict[str, list[float]], name: str, write: Callable[[int], object], step: int
) -> None:
    times.setdefault(name, []).append(_seconds(write, step))


def _seconds(call: Callable[[int], object], step: int) -> float:
    began = perf_counter()
    call(step)
    return perf_counter() - began


def _ignore(step: int) -> None:
    del step


def _fail(step: int, error: Exception) -> None:
    raise SystemExit(f"checkpoint {step}: {error}")


def _writer_table(rows: list[Result]) -> Table:
    table = Table(
        title="Milliseconds of the training thread per checkpoint, median (min-max)",
        title_justify="left",
    )
    columns = ("", "MB", "behind", "first", "at once", "torch.save", "on disk after")
    for column in (*columns, f"share at {DEFAULT_INTERVAL_S:g} s", "n"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        times = row["times"]
        table.add_row(
            row["name"],
            f"{row['state_bytes'] / 1e6:.1f}",
            _spread_ms(times["behind_s"]),
            _spread_ms(times["behind_first_s"]),
            _spread_ms(times["at_once_s"]),
            _spread_ms(times["torch_save_s"]),
            _spread_ms(times["written_s"]),
            f"{median(times['behind_s']) / DEFAULT_INTERVAL_S:.3%}",
            str(row["n"]),
        )
    return table


def _spread_ms(times_s: list[float]) -> str:
    """Return median and range in milliseconds."""
    middle, low, high = (
        f"{1e3 * value:{'.0f' if value > 0.1 else '.2g'}}"
        for value in (median(times_s), min(times_s), max(times_s))
    )
    return middle if len(times_s) == 1 else f"{middle}\n({low}-{high})"


# Whole runs


def _cost_of_runs(name: str, rounds: int, every_s: float) -> Result:
    """Train with and without checkpoints in turn."""
    pairs: list[tuple[float, float]] = []
    others: list[float] = []
    for number in range(rounds):
        # Whoever is second finds a warmer machine, so they change places.
        order = (every_s, NEVER_S) if number % 2 else (NEVER_S, every_s)
        found = {seconds: _train(name, seconds) for seconds in order}
        pairs.append((found[every_s][0], found[NEVER_S][0]))
        others += [busy for _, busy in found.values()]
    ratios = [saving / never for saving, never in pairs]
    return {
        "name": name,
        "every_s": every_s,
        "n": rounds,
        "seconds": pairs,
        "ratios": ratios,
        "share_at_interval": (median(ratios) - 1) * every_s / DEFAULT_INTERVAL_S,
        "cores_used_by_others": median(others),
    }


def _train(name: str, every_s: float) -> tuple[float, float]:
    """Return the seconds that a run's steps and checkpoints took, and what else was going on."""
    recipe = (*RUNS[name], "seed=0", f"checkpoint_every_s={every_s:g}")
    finished = processes.run(TRAINTIME.command("train", *recipe, "--json"), timeout_s=900)
    if finished.problem:
        raise SystemExit(finished.problem)
    seconds = finished.outcome["seconds"]
    return seconds["train"] + seconds["checkpoint"], finished.cores_used_by_others


def _runs_table(rows: list[Result], every_s: float) -> Table:
    table = Table(
        title=f"Time of a run that saves every {every_s:g} s, over one that never saves",
        title_justify="left",
    )
    columns = ("", "seconds", "ratio, median (min-max)")
    for column in (*columns, f"share at {DEFAULT_INTERVAL_S:g} s", "n"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        ratios = row["ratios"]
        table.add_row(
            row["name"],
            f"{median(never for _, never in row['seconds']):.1f}",
            f"{median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})",
            f"{row['share_at_interval']:.2%}",
            str(row["n"]),
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="of the writer alone (default: 9)")
    parser.add_argument("--runs", type=int, default=5, help="pairs of whole runs (default: 5)")
    parser.add_argument(
        "--every", type=float, default=1, help="seconds between checkpoints of these"
    )
    parser.add_argument("--quick", action="store_true", help="three rounds, one pair of runs")
    parser.add_argument("--folder", type=Path, help="on which disk (default: that of /tmp)")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "checkpoint_cost.json")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.runs = 3, 1
    return given


if __name__ == "__main__":
    main()
