"""The train verb: forecast, prepare, train, evaluate, report."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from traintime import __version__
from traintime.api.job import (
    KnownJob,
    RecipeLike,
    forecast_known_job,
    planned_recipe,
    profile_for,
    read_job,
)
from traintime.api.listener import Listener
from traintime.api.machine import installed_version
from traintime.api.past_runs import conditions
from traintime.errors import DivergedError, InputError, MissingExtraError, StoppedError
from traintime.forecast.forecast import Forecast
from traintime.hardware.machine import Machine
from traintime.hardware.profile import HardwareProfile
from traintime.hardware.threads import share_processor
from traintime.ledger.atomic import write_bytes_atomically
from traintime.ledger.database import Ledger, LedgerRow
from traintime.ledger.paths import ledger_path, runs_folder
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe
from traintime.units import format_bytes

if TYPE_CHECKING:
    from traintime.evaluate.metrics import Classification


@dataclass(frozen=True)
class TrainResult:
    """What a run brought.

    Args:
        run: Name of the run.
        folder: Where everything about it is kept.
        status: "target reached", "finished" or "stopped early".
        reason: Why it was stopped early, if a forecast said so.
        started_at: When this process began on it, ISO with time zone.
        forecast: What was expected.
        total_s: What it took.
        time_to_target_s: Until the validation that reached the target.
        seconds: What the time was spent on: prepare, train, validate, checkpoint, evaluate.
        step_time_s: Median, low and high of a step, as the windows of the run saw it.
        epochs: Done.
        steps: Done.
        peak_memory_bytes: Of the process, or on the GPU.
        test: Scores on the test set.
        report: The page that shows all this.
    """

    run: str
    folder: Path
    status: str
    reason: str
    started_at: str
    forecast: Forecast
    total_s: float
    time_to_target_s: float | None
    seconds: dict[str, float]
    step_time_s: dict[str, float] | None
    epochs: int
    steps: int
    peak_memory_bytes: int | None
    test: Classification
    report: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = dataclasses.asdict(self)
        for score in values["test"]["per_class"]:
            score["class"] = score.pop("name")
        return {
            **values,
            "folder": str(self.folder),
            "report": str(self.report),
            "forecast": self.forecast.to_json(),
        }


def train(
    recipe: RecipeLike = None, /, *, listener: Listener | None = None, **fields: Any
) -> TrainResult:
    """Train a complete model and hold the forecast against what it took.

    Args:
        recipe: A recipe or the path of a YAML file.
        listener: Told of every stage; None is silent.
        **fields: Recipe fields, for example `data="mnist", model="lenet", epochs=3`.

    Raises:
        InputError: The recipe cannot be done as it was written, or not in this memory.
        DataUnavailableError: The data set cannot be had.
        DivergedError: The loss is no longer finite.
        StoppedError: Ctrl-C or SIGTERM; the run is saved and can be resumed.
        StorageError: The disk refused a write.
    """
    job = read_job(recipe, fields)
    require_torch()
    _require_compiler(job.recipe)
    listener = listener or Listener()
    profile = profile_for(job, listener)
    began_at = perf_counter()
    forecast = forecast_known_job(job, profile)
    folder = RunFolder.create(runs_folder(), f"{job.recipe.data}-{job.recipe.model}", __version__)
    folder.write_recipe(job.recipe.model_dump(mode="json"))
    write_environment(folder, profile.machine, forecast)
    folder.write_json("forecast", forecast.to_json())  # last: with it the run can be resumed
    row = _ledger_row(folder, job.recipe, profile, forecast)
    return run_job(job, forecast, folder, row, listener, began_at)


def require_torch() -> None:
    """Say which extra to install if torch, or what goes with it, is missing."""
    share_processor()
    for module in ("torch", "numpy", "PIL", "safetensors"):
        if find_spec(module) is None:
            raise MissingExtraError("Training", "train", module)


def _require_compiler(recipe: Recipe) -> None:
    """Refuse torch.compile where it would fail at the first step."""
    named = os.environ.get("CXX")
    if recipe.compile and not any(map(shutil.which, [named] if named else COMPILERS)):
        raise InputError(
            f"compile=true was asked for, and torch.compile needs a C++ compiler ({named or 'g++'} "
            "is not on the PATH). Install one, or leave compile= out"
        )


COMPILERS = ("g++", "clang++", "c++", "cl")


def run_job(
    job: KnownJob,
    forecast: Forecast,
    folder: RunFolder,
    row: LedgerRow,
    listener: Listener,
    began_at: float,
    *,
    resume: bool = False,
) -> TrainResult:
    """Train in a run folder, new or resumed, and enter the outcome in the ledger."""
    folder.claim()
    ledger = Ledger(ledger_path())
    row = dataclasses.replace(row, num_processes=row.num_processes + resume)
    ledger.put(dataclasses.replace(row, status="running"))
    listener.on_forecast(planned_recipe(job.recipe, forecast), forecast, folder.path)
    try:
        # Reading and checking the data releases the interpreter; importing torch takes as long.
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(_load_raw, job.facts.name, listener)
            from traintime.api.session import Session

            raw = reading.result()
        result = Session(job, forecast, folder, listener, began_at).run(raw, resume=resume)
    except StoppedError:
        ledger.put(dataclasses.replace(row, status="stopped"))
        write_report(folder)
        raise
    except DivergedError:
        ledger.put(dataclasses.replace(row, status="diverged"))
        write_report(folder)
        raise
    except BaseException as error:
        ledger.put(dataclasses.replace(row, status="failed"))
        if _is_out_of_memory(error):
            raise InputError(
                f"There is not enough memory on {forecast.execution.device} for this job "
                f"({format_bytes(forecast.peak_memory_bytes.median)} were forecast). Type "
                f"batch_size={max(1, job.recipe.batch_size // 2)}, "
                f"or accumulate={2 * job.recipe.accumulate} to keep the batch"
            ) from error
        raise
    finally:
        folder.release()
    step_s = result.step_time_s["median"] if result.step_time_s else None
    ledger.put(
        dataclasses.replace(
            row,
            status=result.status,
            total_s=result.total_s,
            step_s=step_s,
            accuracy=result.test.accuracy,
        )
    )
    return result


def _is_out_of_memory(error: BaseException) -> bool:
    """Recognise it by its words: torch's CPU allocator has no error type of its own for it."""
    words = ("out of memory", "can't allocate memory")
    said = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return said or isinstance(error, MemoryError)


def write_report(folder: RunFolder) -> Path:
    """Draw what is known of a run, finished or not, and return where."""
    from traintime.report.html import render_report  # templates are not needed before the end

    path = folder.path / "report.html"
    write_bytes_atomically(path, render_report(folder.path).encode())
    return path


def _load_raw(name: str, listener: Listener) -> Any:
    from traintime.data.fetch import load_raw

    return load_raw(name, listener.say)


def write_environment(folder: RunFolder, machine: Machine, forecast: Forecast) -> None:
    """Keep what the run ran on."""
    folder.write_json(
        "environment",
        {
            "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "machine": dataclasses.asdict(machine),
            "versions": {
                "python": platform.python_version(),
                "torch": installed_version("torch"),
                "traintime": __version__,
            },
            "execution": dataclasses.asdict(forecast.execution),
            "picks": list(forecast.picks),
            "command": " ".join(sys.argv),
        },
    )


def _ledger_row(
    folder: RunFolder, recipe: Recipe, profile: HardwareProfile, forecast: Forecast
) -> LedgerRow:
    under = conditions(recipe, forecast.execution, forecast.parameters, profile)
    return LedgerRow(
        name=folder.name,
        folder=str(folder.path.resolve()),
        began=datetime.now().isoformat(timespec="seconds"),
        status="running",
        data=under.data,
        model=under.model,
        target=recipe.target,
        machine=under.machine,
        evidence=forecast.evidence,
        forecast_s=forecast.total_s.median,
        forecast_low_s=forecast.total_s.low,
        forecast_high_s=forecast.total_s.high,
        forecast_step_s=forecast.step_time_s.median,
        device=under.device,
        execution=under.execution,
        batch_size=under.batch_size,
        parameters=under.parameters,
        software=under.software,
        uncorrected_step_s=forecast.uncorrected_step_s,
    )
