"""One process's work on a run: everything that needs torch."""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from traintime.api.callbacks import Callback, Callbacks
from traintime.api.feed import Feed, open_feed
from traintime.api.job import KnownJob, planned_recipe
from traintime.api.listener import Listener
from traintime.api.own_images import stand_in, with_first_scale
from traintime.api.recorder import Recorder
from traintime.api.tensorboard import TensorBoard
from traintime.api.train import TrainResult, write_report
from traintime.api.usage_recorder import UsageRecorder
from traintime.clock.eta import Clock
from traintime.clock.watched import Guess
from traintime.data.catalogue import DataFacts
from traintime.data.fetch import RawImages
from traintime.data.formats import Bytes
from traintime.data.own_table import RawTable
from traintime.data.prepare import AnySamples, PreparedParts, TableSamples
from traintime.data.resident import OrderedBatches
from traintime.data.streamed import StreamedInOrder
from traintime.evaluate.metrics import Classification, classify
from traintime.evaluate.predict import Predictions, predict
from traintime.forecast.forecast import Forecast
from traintime.forecast.predict import FINISH_S, VALIDATION_BATCH
from traintime.hardware.allocator import keep_freed_memory, peak_resident_bytes, start_peak_anew
from traintime.ledger.atomic import write_atomically
from traintime.ledger.commands import Commands
from traintime.ledger.run_folder import RunFolder
from traintime.models.build import build
from traintime.recipe import Recipe
from traintime.train.checkpoints import load_latest
from traintime.train.loop import Job, Loop
from traintime.train.pace import Deadline, Expected
from traintime.train.records import Event, Outcome, Validation
from traintime.train.signals import StopNow, StopRequest
from traintime.train.steering import now, read_changes

SHOWN_MISTAKES = 24


NEEDED_OF_AN_EPOCH = {"epoch", "validation_accuracy", "validation_loss"}


class Session:
    """Trains, judges and reports one run in this process.

    Args:
        job: What is trained.
        forecast: What was expected; also says how it is computed.
        folder: Where everything is kept.
        listener: Told of the stages.
        began_at: `perf_counter()` when this process began on the run.
        callbacks: Told what the loop tells.
    """

    def __init__(
        self,
        job: KnownJob,
        forecast: Forecast,
        folder: RunFolder,
        listener: Listener,
        began_at: float,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.job, self.forecast = job, forecast
        self.folder, self.listener = folder, listener
        self.began_at, self.callbacks = began_at, callbacks
        self.execution = forecast.execution
        self.recipe = planned_recipe(job.recipe, forecast)
        self.deadline = _deadline(job.recipe, forecast)

    def run(
        self,
        raw: RawImages | RawTable,
        prepared: PreparedParts,
        stop: StopRequest,
        *,
        resume: bool,
    ) -> TrainResult:
        """Train, evaluate, and leave everything in the run folder.

        Args:
            raw: The data set.
            prepared: Its parts.
            stop: Whether somebody asks to stop.
            resume: Go on from the latest checkpoint, or from the start if there was none yet.

        Raises:
            StopNow: A signal came before there was anything to save.
            StoppedError: A signal or a command came; the run is saved.
        """
        keep_freed_memory()
        _start_peak_anew(self.execution.device)
        with stop.immediate():
            prepared = with_first_scale(prepared, self.folder)
            module = self._draw()
        feed = open_feed(
            self.job,
            prepared,
            self.execution,
            tell=lambda kind, line: loop.tell_event(kind, line),
            stand_in=lambda tell: stand_in(self.job, raw, self.folder, tell),
            waiting=stop.immediate,
        )
        thread = ThreadPoolExecutor(1, "traintime-clock")
        guess = Guess.by(prepared.validation.labels.bincount().tolist())
        clock = Clock(self.recipe, self.forecast, self.deadline, thread, guess)
        recorder = Recorder(self.folder, clock)
        tensorboard = TensorBoard(self.folder, clock)
        usage = UsageRecorder(self.folder, self.execution.device, workers=feed.worker_pids)
        callbacks = Callbacks(self.callbacks, lambda: loop.save(), self.folder.name)
        shown = self.listener.observers(self.recipe, clock)
        observers = [clock, recorder, tensorboard, usage, *shown, callbacks]
        with closing(feed), closing(recorder), closing(tensorboard), closing(usage), thread:
            loop = Loop(self._loop_job(module, prepared, feed), observers, stop)
            if resume:
                said = self._restore(loop, clock)
                self.listener.say(said)
                recorder.on_event(
                    Event("resumed", said, loop.progress.step, loop.elapsed_s(), now())
                )
            for line in raw.damage:
                recorder.on_event(
                    Event("damaged data", line, loop.progress.step, loop.elapsed_s(), now())
                )
            prepare_s = perf_counter() - self.began_at
            with closing(loop):
                outcome = loop.run()
                self.listener.on_testing(len(prepared.test))
                tested_at = perf_counter()
                try:
                    with stop.immediate():
                        predictions = self._test(loop, module, feed.in_order(prepared.test))
                except StopNow:
                    raise loop.stopped() from None
        test = classify(predictions.confusion(), predictions.loss, self.job.facts.classes)
        evaluate_s = perf_counter() - tested_at
        self._save_model(module)
        seconds = {"prepare": prepare_s, **outcome.seconds, "evaluate": evaluate_s}
        result = self._result(outcome, test, seconds, loop.elapsed_s())
        mistakes = _mistakes(prepared.test, predictions, self.job.facts)
        self._write_result(result, mistakes, raw.source)
        return result

    def _draw(self) -> nn.Module:
        """Return the network with the first weights of its seed, on its device."""
        torch.manual_seed(self.job.recipe.seed)
        return build(self.job.network, fused=self.execution.fused).to(self.execution.device)

    def _test(
        self, loop: Loop, module: nn.Module, test: OrderedBatches | StreamedInOrder
    ) -> Predictions:
        return loop.in_memory(
            lambda size: predict(module, test.in_batches_of(size), self.execution)
        )

    def _loop_job(self, module: nn.Module, prepared: PreparedParts, feed: Feed) -> Job:
        recipe = self.recipe
        held_out = feed.in_order(prepared.validation)

        def validate(module: nn.Module, batch: int) -> Validation:
            predictions = predict(module, held_out.in_batches_of(batch), self.execution)
            return Validation(
                predictions.loss,
                predictions.accuracy,
                len(predictions.labels),
                predictions.loss_deviation,
            )

        return Job(
            recipe=recipe,
            execution=self.execution,
            module=module,
            batches=feed.training(),
            train_samples=len(prepared.train),
            validate=validate,
            validation_batch=VALIDATION_BATCH,
            checkpoints=self.folder.checkpoints,
            began_at=self.began_at,
            resume_command=f"traintime runs resume {self.folder.name}",
            draw_again=self._draw,
            deadline=self.deadline,
            commands=Commands(self.folder.path),
            refuse_if_lost=self.folder.refuse_if_lost,
        )

    def _restore(self, loop: Loop, clock: Clock) -> str:
        """Go on from the latest checkpoint, and say from where that is."""
        checkpoint = load_latest(self.folder.checkpoints, self.listener.say)
        changes = read_changes(self.folder)
        if checkpoint is None:
            loop.steering.recall(changes)
            return "No checkpoint was due yet: starting over with the same seed"
        loop.restore(checkpoint, changes)
        done = loop.progress.epoch
        epochs = self.folder.records("epochs", self.listener.say, needed=NEEDED_OF_AN_EPOCH)
        clock.recall([record for record in epochs if record["epoch"] <= done])
        return f"Going on from step {loop.progress.step}"

    def _result(
        self, outcome: Outcome, test: Classification, seconds: dict[str, float], total_s: float
    ) -> TrainResult:
        return TrainResult(
            run=self.folder.name,
            folder=self.folder.path,
            status=outcome.status,
            reason=outcome.reason,
            started_at=(datetime.now().astimezone() - self._age()).isoformat(),
            forecast=self.forecast,
            total_s=total_s,
            time_to_target_s=outcome.time_to_target_s,
            seconds=seconds,
            step_time_s=_spread(outcome.window_step_times_s),
            epochs=outcome.epochs,
            steps=outcome.steps,
            peak_memory_bytes=_peak_memory(self.execution.device),
            test=test,
            report=self.folder.path / "report.html",
        )

    def _age(self) -> timedelta:
        return timedelta(seconds=perf_counter() - self.began_at)

    def _save_model(self, module: nn.Module) -> None:
        tensors = {name: t.detach().cpu().contiguous() for name, t in module.state_dict().items()}
        metadata = {"model": self.job.recipe.model, "data": self.job.recipe.data}
        write_atomically(
            self.folder.path / "model.safetensors",
            lambda temporary: save_file(tensors, temporary, metadata),
        )

    def _write_result(
        self, result: TrainResult, mistakes: list[dict[str, Any]], source: str
    ) -> None:
        values = result.to_json()
        for elsewhere in ("forecast", "folder", "report"):
            del values[elsewhere]
        environment = self.folder.read_json("environment")
        self.folder.write_json("environment", {**environment, "data_source": source})
        self.folder.write_json("result", {**values, "wrong": mistakes})
        write_report(self.folder)


def _deadline(recipe: Recipe, forecast: Forecast) -> Deadline | None:
    """Return when the result has to be there, with what it is expected to take till then."""
    if recipe.time_budget is None:
        return None
    stages = forecast.stages_s
    expected = Expected(
        epochs=forecast.epochs,
        step_s=forecast.step_time_s.median,
        validate_s=stages["validate"].median / forecast.epochs,
        test_s=stages["evaluate"].median - FINISH_S,
        save_s=FINISH_S,
    )
    return Deadline(recipe.time_budget, recipe.epochs, expected)


def _spread(step_times_s: tuple[float, ...]) -> dict[str, float] | None:
    """Return median and central 80 % of the windows' step times."""
    if not step_times_s:
        return None
    ordered = sorted(step_times_s)
    last = len(ordered) - 1
    return {
        "median": statistics.median(ordered),
        "low": ordered[round(0.1 * last)],
        "high": ordered[round(0.9 * last)],
    }


def _start_peak_anew(device: str) -> None:
    """Let `_peak_memory` tell the most from now on."""
    start_peak_anew()
    if device.startswith("cuda"):
        torch.cuda.init()  # a device that nothing was done on yet has no figures to reset
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: str) -> int | None:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def _mistakes(test: AnySamples, predictions: Predictions, facts: DataFacts) -> list[dict[str, Any]]:
    """Return the wrong predictions that the model was surest of, with what can be seen of each."""
    return [
        {
            **_seen(test, index),
            "truth": facts.classes[int(predictions.labels[index])],
            "predicted": facts.classes[int(predictions.predicted[index])],
            "confidence": float(predictions.confidence[index]),
        }
        for index in predictions.worst(SHOWN_MISTAKES)
    ]


def _seen(test: AnySamples, index: int) -> dict[str, Any]:
    """Return a picture of a sample, or the cells of its row."""
    if isinstance(test, TableSamples):
        return asdict(test.shown[index])
    return {"png": _png(test.image(index))}


def _png(pixels: Bytes) -> str:
    """Return a picture (H, W, C) as base64."""
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
