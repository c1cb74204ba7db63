"""Training steps of whole models: time and memory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpu.clocks import Call, Clock, times
from gpu.launches import graphed
from gpu.models import Model, loss_of
from gpu.precisions import computing_in, half_precision
from gpu.traffic import UPDATES


@dataclass(frozen=True)
class StepCase:
    """One training step.

    Args:
        name: What tables call the model.
        model: What is trained.
        precision: "amp", "tf32" or "fp32".
        memory_format: Of images; "" elsewhere.
        batch_size: Samples.
        mode: "eager", "graph" or "compiled".
    """

    name: str
    model: Model
    precision: str
    memory_format: str
    batch_size: int
    mode: str = "eager"

    @property
    def label(self) -> str:
        """What tells it from the others."""
        how = f"{self.precision} {self.memory_format}"
        return f"{self.name} {how} {self.batch_size} {self.mode}"


def step_cases(models: dict[str, Model], *, modes: Sequence[str] = ()) -> list[StepCase]:
    """Return steps in the order of what is wanted first, should time run out."""
    # (precision, memory format, which batch, mode)
    variants = [
        *(("amp", "channels_last", 1, "eager"), ("amp", "channels_last", 0, "eager")),
        *(("tf32", "channels_last", 1, "eager"), ("fp32", "contiguous", 0, "eager")),
        *(("amp", "contiguous", 1, "eager"), ("tf32", "channels_last", 0, "eager")),
    ]
    variants[2:2] = [("amp", "channels_last", 0, mode) for mode in modes]
    return [
        StepCase(
            name, model, precision, layout if model.is_of_images else "", model.batches[which], mode
        )
        for precision, layout, which, mode in variants
        for name, model in models.items()
        if model.is_of_images or (precision, layout) != ("amp", "contiguous")
    ]


def training_step(case: StepCase, device: str) -> Call:
    """Build a model and return its step: forward, backward, update."""
    torch.manual_seed(0)
    with torch.device(device):
        module = case.model.build()
    inputs = case.model.inputs(case.batch_size, device)
    if case.memory_format == "channels_last":
        module = module.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    kind, settings, _, _ = UPDATES[case.model.optimizer]
    if case.mode == "compiled":
        module = torch.compile(module, mode="reduce-overhead")
    if case.mode == "graph" and case.model.optimizer == "adamw":
        settings = {**settings, "capturable": True}
    optimizer = kind(module.parameters(), **settings, fused=True)
    amp = {"dtype": half_precision(device), "enabled": case.precision == "amp"}

    def step() -> None:
        with torch.autocast(device, **amp):
            loss = loss_of(module(inputs))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def step_row(case: StepCase, clock: Clock, device: str, *, least_calls: int) -> dict[str, Any]:
    """Train a few steps and return time and memory; memory is beyond what was held before."""
    on_gpu = device == "cuda"
    held = _held_bytes() if on_gpu else (0, 0)
    with computing_in(case.precision):
        step = training_step(case, device)
        timing = clock.time_each(graphed(step) if case.mode == "graph" else step, least_calls)
    peaks = (
        (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if on_gpu else held
    )
    return {
        "model": case.name,
        "source": case.model.source,
        "optimizer": case.model.optimizer,
        "precision": case.precision,
        "memory_format": case.memory_format,
        "batch_size": case.batch_size,
        "mode": case.mode,
        "peak_allocated_bytes": peaks[0] - held[0],
        "peak_reserved_bytes": peaks[1] - held[1],
        **times(timing),
    }


def _held_bytes() -> tuple[int, int]:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
