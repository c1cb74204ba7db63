"""The train verb: forecast, prepare, train, evaluate, report."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from traintime import __version__
from traintime.api.callbacks import Callback, checked_callbacks
from traintime.api.input_plan import with_input
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
from traintime.api.run_data import load_data, note_data
from traintime.errors import (
    DivergedError,
    InputError,
    MissingExtraError,
    StoppedError,
    StorageError,
)
from traintime.forecast.forecast import Forecast
from traintime.hardware.machine import Machine
from traintime.hardware.preemption import PreemptionWatch, slurm_end_time, stop_signals
from traintime.hardware.profile import HardwareProfile
from traintime.hardware.threads import share_processor
from traintime.hardware.usage import memory_left
from traintime.ledger.atomic import write_bytes_atomically
from traintime.ledger.database import Ledger, LedgerRow
from traintime.ledger.paths import ledger_path, runs_folder
from traintime.ledger.run_folder import RunFolder
from traintime.recipe import Recipe
from traintime.recipe.steering import alters_plan
from traintime.train.out_of_memory import is_out_of_memory
from traintime.train.signals import StopNow, StopRequest, stop_requests
from traintime.units import format_bytes

T = TypeVar("T")

if TYPE_CHECKING:
    from traintime.data.prepare import PreparedParts
    from traintime.evaluate.metrics import Classification


@dataclass(frozen=True)
class TrainResult:
    """What a run brought.

    Args:
        run: Name of the run.
        folder: Where everything about it is kept.
        status: "target reached", "finished" or "stopped early".
        reason: Why it was stopped early; empty if it was not.
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
    recipe: RecipeLike = None,
    /,
    *,
    listener: Listener | None = None,
    callbacks: Sequence[Callback] = (),
    **fields: Any,
) -> TrainResult:
    """Train a complete model and hold the forecast against what it took.

    Args:
        recipe: A recipe or the path of a YAML file.
        listener: Told of every stage; None is silent.
        callbacks: Your own code, told of steps, epochs and the rest while it trains.
        **fields: Recipe fields, for example `data="mnist", model="lenet", epochs=3`.

    Raises:
        InputError: The recipe cannot be done as it was written, or not in this memory.
        TraintimeError: A callback failed; the run is saved.
        DataUnavailableError: The data set cannot be had.
        DivergedError: The loss is no longer finite.
        StoppedError: Ctrl-C or SIGTERM; the run is saved and can be resumed.
        StorageError: The disk refused a write.
    """
    callbacks = checked_callbacks(callbacks)
    listener = listener or Listener()
    job = read_job(recipe, fields, say=listener.say)
    require_torch()
    _require_compiler(job.recipe)
    profile = profile_for(job, listener)
    began_at = perf_counter()
    job = with_input(job, profile.device)
    forecast = forecast_known_job(job, profile)
    what = re.sub(r"[^\w.-]+", "-", job.recipe.data_name)
    folder = RunFolder.create(runs_folder(), f"{what}-{job.recipe.model}", __version__)
    note_data(folder, job.facts)
    folder.write_recipe(job.recipe.model_dump(mode="json"))
    write_environment(folder, profile.machine, forecast)
    folder.write_json("forecast", forecast.to_json())  # last: with it the run can be resumed
    row = _ledger_row(folder, job.recipe, profile, forecast)
    return run_job(job, forecast, folder, row, listener, began_at, callbacks, profile)


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
    callbacks: Sequence[Callback] = (),
    profile: HardwareProfile | None = None,
) -> TrainResult:
    """Train in a run folder, and enter the outcome in the ledger.

    Args:
        job: What is trained.
        forecast: What it is expected to take.
        folder: Of the run.
        row: Of the ledger.
        listener: Told of every stage.
        began_at: `perf_counter()` when this process began on the run.
        callbacks: The user's own code.
        profile: What the device of a new run sustains; None resumes one, whose forecast stands.
    """
    ledger = Ledger(ledger_path())
    row = dataclasses.replace(row, num_processes=row.num_processes + (profile is None))
    taken_over = folder.claim()
    if taken_over:
        listener.say(taken_over)
        _say_what_may_have_killed(folder, job.recipe, forecast, listener)

    def enter(told: Forecast) -> None:
        """Let the ledger hold what was promised after steps were tried."""
        nonlocal row
        row = dataclasses.replace(row, **_promised(told))
        ledger.put(dataclasses.replace(row, status="running"))

    try:
        # Up to the ledger's last word: another signal, or a late one, must not keep it from that.
        with stop_requests(stop_signals()) as stop:
            ledger.put(dataclasses.replace(row, status="running"))
            try:
                with _preemption(stop, listener):
                    result = _train_and_test(
                        job,
                        forecast,
                        folder,
                        enter,
                        listener,
                        began_at,
                        callbacks,
                        stop,
                        profile,
                    )
            except BaseException as error:
                _note_failure(error, ledger, row, folder)
                if is_out_of_memory(error):
                    raise _too_large(job.recipe, forecast) from error
                raise
            ledger.put(_finished(row, result, folder))
    finally:
        folder.release()
    return result


def _say_what_may_have_killed(
    folder: RunFolder, recipe: Recipe, forecast: Forecast, listener: Listener
) -> None:
    """Say it if less memory is left than was forecast: the system kills without a word."""
    needed, left = forecast.peak_memory_bytes.median, memory_left(os.getpid())[0]
    if forecast.execution.device == "cpu" and left < needed:
        listener.say(
            f"{format_bytes(needed)} of memory were forecast and {format_bytes(left)} are left, "
            "which may be why it ended. Should it end again, type: "
            f"traintime train '{folder.path / 'recipe.yaml'}' accumulate={2 * recipe.accumulate}"
        )


def _note_failure(error: BaseException, ledger: Ledger, row: LedgerRow, folder: RunFolder) -> None:
    with suppress(StorageError):  # what ended the run is what has to be said
        ended = {"status": _status_after(error), "is_changed": was_changed(folder)}
        ledger.put(dataclasses.replace(row, **ended))
        if isinstance(error, StoppedError | DivergedError):
            write_report(folder)


def _too_large(recipe: Recipe, forecast: Forecast) -> InputError:
    return InputError(
        f"There is not enough memory on {forecast.execution.device} for this job, not even "
        f"in small parts ({format_bytes(forecast.peak_memory_bytes.median)} were "
        f"forecast). Type a smaller model, batch_size={max(1, recipe.batch_size // 2)}, or "
        "optimizer=sgd"
    )


def _finished(row: LedgerRow, result: TrainResult, folder: RunFolder) -> LedgerRow:
    return dataclasses.replace(
        row,
        **_promised(result.forecast),
        status=result.status,
        total_s=result.total_s,
        step_s=result.step_time_s["median"] if result.step_time_s else None,
        accuracy=result.test.accuracy,
        is_changed=was_changed(folder),
    )


def was_changed(folder: RunFolder) -> bool:
    """Say whether a run was made another one than was forecast, on its way."""
    return any(map(alters_plan, folder.records("changes")))


def _train_and_test(
    job: KnownJob,
    forecast: Forecast,
    folder: RunFolder,
    enter: Callable[[Forecast], None],
    listener: Listener,
    began_at: float,
    callbacks: Sequence[Callback],
    stop: StopRequest,
    profile: HardwareProfile | None,
) -> TrainResult:
    is_told = profile is None or _begins_late(job, forecast)
    if is_told:
        _tell(job, forecast, folder, listener)
    else:
        listener.on_preparing(job.recipe)
    try:
        with stop.immediate():
            # Reading and checking the data releases the interpreter; importing torch takes as long.
            is_resumed = profile is None
            reading = in_background(lambda: load_data(job, folder, listener, resume=is_resumed))
            from traintime.api.session import Session
            from traintime.data.prepare import prepare

            raw = reading.result()
            prepared = prepare(raw, job.recipe, job.facts)
            if profile:
                forecast = _after_trial(job, forecast, profile, prepared, began_at)
        if profile:
            folder.write_json("forecast", forecast.to_json())
            enter(forecast)
        if not is_told:
            _tell(job, forecast, folder, listener)
        elif profile:
            listener.on_trial(forecast)
        session = Session(job, forecast, folder, listener, began_at, callbacks)
        return session.run(raw, prepared, stop, resume=is_resumed)
    except StopNow:
        raise StoppedError(
            stop.signal_number,
            "Stopped before the first step; nothing is lost. "
            f"To go on, type: traintime runs resume {folder.name}",
        ) from None


PATIENCE_S = 5.0
"""A forecast of images of one's own waits for some steps to be tried, unless that takes longer."""


def _begins_late(job: KnownJob, forecast: Forecast) -> bool:
    """Say whether a forecast should not wait for the data, which takes long or nobody knows."""
    if job.facts.table:
        return False
    if job.facts.folder is None:
        from traintime.data.fetch import check_cached

        return not check_cached(job.facts.name)
    return forecast.stages_s["prepare"].median > PATIENCE_S


def _tell(job: KnownJob, forecast: Forecast, folder: RunFolder, listener: Listener) -> None:
    listener.on_forecast(planned_recipe(job.recipe, forecast), forecast, folder.path)
    _say_when_slurm_ends(forecast, listener)


def _after_trial(
    job: KnownJob,
    forecast: Forecast,
    profile: HardwareProfile,
    prepared: PreparedParts,
    began_at: float,
) -> Forecast:
    """Return the forecast that a few real steps lead to, or the one there was."""
    from traintime.api.trial import try_steps

    trial = try_steps(job, forecast, prepared, began_at)
    if trial is None:
        return forecast
    try:
        return forecast_known_job(job, profile, trial)
    except InputError:  # too late for its budget, by now: the run does what it can
        return forecast


def _preemption(stop: StopRequest, listener: Listener) -> PreemptionWatch:
    """Return what stops the run when this machine is about to be taken away."""

    def warn(notice: str) -> None:
        listener.say(f"{notice}: saving and stopping")
        stop.ask()

    return PreemptionWatch(warn, listener.say)


def _say_when_slurm_ends(forecast: Forecast, listener: Listener) -> None:
    end = slurm_end_time()
    if end and time.time() + forecast.total_s.high > end:
        listener.say(
            f"This job of Slurm ends at {datetime.fromtimestamp(end):%H:%M}, which may be before "
            "the run does. With #SBATCH --signal=USR1@120 it is saved then, and can be resumed"
        )


def _status_after(error: BaseException) -> str:
    if isinstance(error, StoppedError):
        return "stopped"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def in_background(work: Callable[[], T]) -> Future[T]:
    """Do work in a thread that no exit waits for: a download must not hold up a stop."""
    future: Future[T] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=do, daemon=True, name="traintime-data").start()
    return future


def write_report(folder: RunFolder) -> Path:
    """Draw what is known of a run, finished or not, and return where."""
    from traintime.report.html import render_report  # templates are not needed before the end

    path = folder.path / "report.html"
    write_bytes_atomically(path, render_report(folder.path).encode())
    return path


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
        **_promised(forecast),
        device=under.device,
        execution=under.execution,
        batch_size=under.batch_size,
        parameters=under.parameters,
        software=under.software,
        uncorrected_step_s=forecast.uncorrected_step_s,
    )


def _promised(forecast: Forecast) -> dict[str, Any]:
    """Return what the ledger keeps of a forecast to hold against the run."""
    return {
        "evidence": forecast.evidence,
        "forecast_s": forecast.total_s.median,
        "forecast_low_s": forecast.total_s.low,
        "forecast_high_s": forecast.total_s.high,
        "forecast_step_s": forecast.step_time_s.median,
    }
