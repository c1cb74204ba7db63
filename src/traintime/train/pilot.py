"""A pilot: a few real training steps of any torch module, which tell more than any law.

The steps are those that a plain training script takes: forward, loss, backward, `torch.optim`, on a
batch that lies ready on the device. The first few warm caches and allocators and do not count.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from traintime.errors import InputError, TraintimeError
from traintime.hardware.allocator import (
    keep_freed_memory,
    peak_resident_bytes,
    resident_bytes,
    start_peak_anew,
)
from traintime.workload.captured_step import Inputs, Loss
from traintime.workload.module_states import silent

WARM_STEPS = 3
LEAST_STEPS = WARM_STEPS + 2
LONGEST_S = 60.0
"""After so long no further step is begun, if the least that say anything are done."""
DRAWN_SCALE = 0.02
MOMENTUM = 0.9
LR = 1e-4


@dataclass(frozen=True)
class PilotJob:
    """What the steps are to be like.

    Args:
        batch_size: Samples of a micro-batch.
        accumulate: Micro-batches of a step.
        optimizer: "sgd" (with momentum), "adam", "adamw" or "muon".
        precision: "fp32", "tf32", "amp" or "half".
        device: "cpu" or "cuda:N".
        channels_last: Whether images are stored so.
        compiled: Whether torch.compile is used.
    """

    batch_size: int
    accumulate: int
    optimizer: str
    precision: str
    device: str
    channels_last: bool
    compiled: bool

    @property
    def is_cuda(self) -> bool:
        """Whether a GPU takes the steps."""
        return self.device.startswith("cuda")

    @property
    def half(self) -> torch.dtype:
        """The type of 16 bits that the device computes in, and does not only emulate."""
        emulated = self.is_cuda and torch.cuda.get_device_capability(self.device)[0] < 8
        return torch.float16 if emulated else torch.bfloat16


@dataclass(frozen=True)
class Pilot:
    """What the steps took.

    Args:
        steps_s: Seconds of each, the first ones included.
        peak_bytes: The most memory that was held beyond what the process held before; None where
            the system does not tell.
    """

    steps_s: tuple[float, ...]
    peak_bytes: float | None

    @property
    def counted_s(self) -> tuple[float, ...]:
        """Seconds of the steps after the first few."""
        return self.steps_s[WARM_STEPS:]

    @property
    def step_s(self) -> float:
        """Median of those."""
        return statistics.median(self.counted_s)


def run_pilot(
    module: nn.Module, inputs: Inputs, loss: Loss, job: PilotJob, num_steps: int
) -> Pilot:
    """Train a copy of a module for a few steps.

    Args:
        module: Left as it is; one on "meta" is filled with small random numbers.
        inputs: Positional and named arguments of a micro-batch; floating zeros become noise.
        loss: Makes a scalar of the output.
        job: How to compute.
        num_steps: To take; fewer if they are long.

    Raises:
        InputError: A step failed; what torch said stands in it.
    """
    keep_freed_memory()
    devices = [job.device] if job.is_cuda else []
    held = _start_memory(job)
    with _explained(job), silent(), torch.random.fork_rng(devices), _matmul_precision(job):
        step = _make_step(module, inputs, loss, job)
        times = tuple(_timed(step, num_steps, job.device))
    peak = torch.cuda.max_memory_reserved(job.device) if job.is_cuda else peak_resident_bytes()
    return Pilot(times, None if held is None or peak is None else float(peak - held))


def _start_memory(job: PilotJob) -> int | None:
    """Return the bytes that are held before the steps; None if their peak cannot be told."""
    if job.is_cuda:
        torch.cuda.init()  # a device that nothing was done on yet has no figures to reset
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(job.device)
        return torch.cuda.memory_reserved(job.device)
    can_tell = start_peak_anew()
    return resident_bytes() if can_tell else None


def _timed(step: Callable[[], None], num_steps: int, device: str) -> Iterator[float]:
    spent_s = 0.0
    for done in range(num_steps):
        if done >= LEAST_STEPS and spent_s > LONGEST_S:
            return
        began = perf_counter()
        step()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        taken_s = perf_counter() - began
        spent_s += taken_s
        yield taken_s


def _make_step(module: nn.Module, inputs: Inputs, loss: Loss, job: PilotJob) -> Callable[[], None]:
    device = torch.device(job.device)
    trained = _on_device(module, job)
    if not trained.training:  # else parts of it may be frozen on purpose
        trained.train()
    args, kwargs = cast("Inputs", tree_map(lambda value: _drawn(value, job), inputs))
    optimizers = _make_optimizers(job.optimizer, list(trained.parameters()))
    forward = cast("Callable[..., Any]", torch.compile(trained) if job.compiled else trained)

    def step() -> None:
        for _ in range(job.accumulate):
            with torch.autocast(device.type, job.half, enabled=job.precision == "amp"):
                scalar = loss(forward(*args, **kwargs))
            torch.autograd.backward(scalar / job.accumulate)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def _on_device(module: nn.Module, job: PilotJob) -> nn.Module:
    """Return a copy with values, in the precision and format asked for."""
    copied = copy.deepcopy(module)
    tensors = [*copied.parameters(), *copied.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        copied = _materialised(copied, job.device)
    copied = copied.to(job.device)
    if job.channels_last:
        copied = copied.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return copied.to(job.half) if job.precision == "half" else copied


def _materialised(module: nn.Module, device: str) -> nn.Module:
    """Give memory and values to a module on "meta"; parameters that are one stay one."""
    shared: dict[int, list[tuple[nn.Module, str]]] = {}
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            shared.setdefault(id(parameter), []).append((part, name))
    module = module.to_empty(device=device)
    for (owner, first), *others in shared.values():
        for part, name in others:
            setattr(part, name, getattr(owner, first))
    _fill(module)
    return module


def _fill(module: nn.Module) -> None:
    """Give values to a module that has none: how large they are does not change what a step takes.

    Subnormal numbers would, on a processor, and what lies in fresh memory may be some.
    """
    for buffer in module.buffers():
        buffer.zero_()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=DRAWN_SCALE)
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()


def _drawn(value: Any, job: PilotJob) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    if value.is_floating_point():
        value = torch.randn_like(value) if not value.any() else value
        value = value.to(job.half) if job.precision == "half" else value
        if job.channels_last and value.ndim == 4:
            value = value.contiguous(memory_format=torch.channels_last)
    return value.to(job.device)


def _make_optimizers(name: str, parameters: list[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """Return those that train a module together: Muon takes matrices alone."""
    match name:
        case "sgd":
            return [torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM)]
        case "adam":
            return [torch.optim.Adam(parameters, lr=LR)]
        case "muon":
            matrices = [parameter for parameter in parameters if parameter.ndim == 2]
            others = [parameter for parameter in parameters if parameter.ndim != 2]
            muon = [torch.optim.Muon(matrices, lr=LR)] if matrices else []
            return [*muon, *([torch.optim.AdamW(others, lr=LR)] if others else [])]
        case _:
            return [torch.optim.AdamW(parameters, lr=LR)]


@contextlib.contextmanager
def _matmul_precision(job: PilotJob) -> Generator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if job.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = job.precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextlib.contextmanager
def _explained(job: PilotJob) -> Generator[None]:
    """Say in one sentence why a step failed."""
    try:
        yield
    except TraintimeError:
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "leave compile= out, or leave pilot= out" if job.compiled else "leave pilot= out"
        raise InputError(
            f"A real step of the model failed on {job.device}: {said} ({type(error).__name__}). "
            f"To forecast it without running it, {hint}"
        ) from error
