"""The measurements that a forecast needs of a device: each kind of operation, at a few sizes.

A probe trains one layer (forward and backward) the way the training loop would, so a rate holds all
that a kernel really costs. The sizes span those of the shipped networks; `HardwareProfile.rate`
interpolates between them. `PROBE_BATCH` is small enough that all probes together take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from platform import python_version
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from traintime.architecture.layers import (
    Activation,
    BatchNorm,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    Network,
    Shape,
)
from traintime.forecast.processor_probes import measure_processor
from traintime.forecast.steady_parts import in_steady_parts
from traintime.forecast.step_time import predict_step
from traintime.hardware.execution import Execution
from traintime.hardware.machine import Machine
from traintime.hardware.processor import ProcessorRates, typical, unsteadiness
from traintime.hardware.profile import Context, HardwareProfile, Rate
from traintime.hardware.timer import time_calls
from traintime.models.build import build
from traintime.recipe import Recipe, read_recipe
from traintime.workload.count import count_operations
from traintime.workload.op_graph import Kind, Op

PROBE_BATCH = 64
MOST_SAMPLES = 16_384
IN_A_PART = 8
"""Probes between two looks at the processor's rates: on a shared machine they come and go."""
BUSY_OVER_DISPATCH = 10
Result = TypeVar("Result", Rate, Context)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Probe:
    """One layer (or few) whose training time gives a rate.

    Args:
        layers: What is timed; the operation of `kind` among them is what the time is given to.
        shape: Of one sample that enters.
        kind: Of the operation.
        batch_size: Samples at once.
        formats: Memory formats to try.
        needs_input_gradient: Whether the layer stands behind others.
    """

    layers: tuple[Layer, ...]
    shape: Shape
    kind: Kind
    batch_size: int = PROBE_BATCH
    formats: tuple[str, ...] = ("channels_last",)
    needs_input_gradient: bool = True


BOTH = ("contiguous", "channels_last")
RELU = Activation("relu")

LAYER_PROBES = (
    Probe((Conv2d(1, 6, 5),), (1, 28, 28), "convolution", 256, BOTH, needs_input_gradient=False),
    Probe((Conv2d(6, 16, 5),), (6, 12, 12), "convolution", 256, BOTH),
    Probe((Conv2d(3, 64, 3, 1),), (3, 32, 32), "convolution", 32, BOTH, needs_input_gradient=False),
    Probe((Conv2d(64, 64, 3, 1),), (64, 32, 32), "convolution", 16, BOTH),
    Probe((Conv2d(128, 128, 3, 1),), (128, 16, 16), "convolution", 16, BOTH),
    Probe((Conv2d(256, 256, 3, 1),), (256, 8, 8), "convolution", 32, BOTH),
    Probe((Conv2d(512, 512, 3, 1),), (512, 4, 4), "convolution", 32, BOTH),
    Probe((Linear(784, 128),), (784,), "matrix product", 256, needs_input_gradient=False),
    Probe((Linear(120, 84),), (120,), "matrix product", 256),
    Probe((Linear(1024, 1024),), (1024,), "matrix product", 256),
    Probe((MaxPool(2),), (6, 24, 24), "pooling", 256, BOTH),
    Probe((MaxPool(2),), (16, 8, 8), "pooling", 256, BOTH),
    Probe((MaxPool(2),), (128, 16, 16), "pooling", 64, BOTH),
    Probe((BatchNorm(64),), (64, 16, 16), "normalisation", 16, BOTH),
    Probe((BatchNorm(64),), (64, 32, 32), "normalisation", 64, BOTH),
    Probe((RELU,), (128,), "elementwise", 256),
    Probe((RELU,), (64, 16, 16), "elementwise", 16, BOTH),
    Probe((RELU,), (64, 32, 32), "elementwise", 128, BOTH),
)
FUSED_PROBES = tuple(
    Probe(
        (Conv2d(channels, outputs, 5, padding), RELU, MaxPool(2)),
        (channels, side, side),
        "fused convolution",
        256,
        ("contiguous",),
        needs_input_gradient=channels > 3,
    )
    for channels, outputs, padding, side in ((1, 6, 2, 28), (3, 6, 0, 32), (6, 16, 0, 14))
)


_LENET_HEAD = (Flatten(), Linear(400, 120), RELU, Linear(120, 84), RELU, Linear(84, 10))
_LENET = (
    *(Conv2d(1, 6, 5, 2), RELU, MaxPool(2)),
    *(Conv2d(6, 16, 5), RELU, MaxPool(2)),
    *_LENET_HEAD,
)
_MLP = (Flatten(), Linear(784, 128), RELU, Linear(128, 10))
_BLOCK = (Conv2d(64, 64, 3, 1, bias=False), BatchNorm(64), RELU)
_IMAGE = (1, 28, 28)
NetworkProbe = tuple[Probe, Literal["contiguous", "channels_last"]]
NETWORK_PROBES: tuple[NetworkProbe, ...] = (
    (Probe(_MLP, _IMAGE, "matrix product", 64, (), needs_input_gradient=False), "contiguous"),
    (Probe(_MLP, _IMAGE, "matrix product", 512, (), needs_input_gradient=False), "contiguous"),
    (Probe(_LENET, _IMAGE, "fused convolution", 64, (), needs_input_gradient=False), "contiguous"),
    (Probe(_LENET, _IMAGE, "fused convolution", 256, (), needs_input_gradient=False), "contiguous"),
    (Probe(_LENET, _IMAGE, "convolution", 64, (), needs_input_gradient=False), "channels_last"),
    (Probe(_LENET, _IMAGE, "convolution", 256, (), needs_input_gradient=False), "channels_last"),
    (Probe(_BLOCK * 3, (64, 32, 32), "convolution", 16), "channels_last"),
)
"""Networks and their memory format; the kind is that of the operation that takes most time."""


def measure_device(
    machine: Machine,
    device: str,
    disk_bytes_per_s: float,
    import_s: float,
    progress: Callable[[str, float], None],
    budget_s: float = 10.5,
) -> HardwareProfile:
    """Measure what a device sustains.

    Args:
        machine: What the machine has.
        device: "cpu" or "cuda:N".
        disk_bytes_per_s: Reading rate of the data's disk.
        import_s: Seconds that importing torch took.
        progress: Told what is measured and the share that is done.
        budget_s: Seconds for all probes; each has an equal part of it, and at least two calls. What
            was measured in a slow moment is measured again beyond it.
    """
    synchronize = _synchronizer(device)
    dispatch_s = _dispatch_cost(device, synchronize)
    jobs, done = list(_jobs(device)), 0.0

    def rate_of(number: int) -> Rate:
        nonlocal done
        probe, precision, memory_format = jobs[number]
        done = max(done, (number + 1) / (len(jobs) + 1))
        progress(f"{probe.kind}, {precision}", done)
        return _measure(probe, precision, memory_format, device, dispatch_s, budget_s / len(jobs))

    def rates_of(numbers: range) -> list[Rate]:
        return [rate_of(number) for number in numbers]

    def others() -> list[Rate]:
        nonlocal done
        done = 1.0
        progress("optimizer and input", done)
        vectors = _vector_rates(device, synchronize)
        return [*vectors, *_orthogonalisation_rates(device, synchronize)]

    numbers = range(len(jobs))
    layers = [partial(rates_of, numbers[at : at + IN_A_PART]) for at in numbers[::IN_A_PART]]
    rates, processor = _in_parts(device, [*layers, others], _faster)
    profile = HardwareProfile(
        machine=machine,
        device=device,
        evidence="measured on this machine",
        rates=tuple(rates),
        contexts=(),
        dispatch_s=dispatch_s,
        disk_bytes_per_s=disk_bytes_per_s,
        import_s=import_s,
        measured_on=date.today().isoformat(),
        software={"python": python_version(), "torch": torch.__version__},
        processor=typical(processor) if processor else None,
        unsteadiness=unsteadiness(processor),
    )
    half = len(NETWORK_PROBES) // 2
    networks = [
        partial(_contexts, profile, some, synchronize)
        for some in (NETWORK_PROBES[:half], NETWORK_PROBES[half:])
    ]
    contexts, _ = _in_parts(device, networks, _quicker, profile.processor)
    return replace(profile, contexts=tuple(contexts))


def _in_parts(
    device: str,
    parts: Sequence[Callable[[], list[Result]]],
    better: Callable[[Result, Result], Result],
    usual: ProcessorRates | None = None,
) -> tuple[list[Result], list[ProcessorRates]]:
    """Measure part by part; a processor is looked at between them, and may be slow meanwhile."""
    if device == "cpu":
        return in_steady_parts(parts, measure_processor, better, usual)
    return [result for part in parts for result in part()], []


def _faster(one: Rate, other: Rate) -> Rate:
    return max(one, other, key=lambda rate: rate.per_s)


def _quicker(one: Context, other: Context) -> Context:
    return min(one, other, key=lambda context: context.ratio)


def _contexts(
    profile: HardwareProfile,
    networks: Sequence[NetworkProbe],
    synchronize: Callable[[], object],
) -> list[Context]:
    """Time whole networks, and hold that against the sum of their operations' times."""
    found: list[Context] = []
    for probe, memory_format in networks:
        fused = probe.kind == "fused convolution"
        if fused and profile.device != "cpu":
            continue
        for precision in ("fp32", "bf16"):
            execution = Execution(profile.device, precision, memory_format, fused)
            network = Network("probe", probe.shape, 10, probe.layers)
            graph = count_operations(network, _any_recipe(), fused=fused)
            ops = tuple(op for op in graph.ops if op.is_network and op.name != "loss")
            alone = predict_step(replace(graph, ops=ops), probe.batch_size, execution, profile)
            assert alone is not None
            train = _training_call(probe, precision, memory_format, profile.device)
            timing = time_calls(train, synchronize=synchronize, budget_s=0.15)
            ratio = timing.median_s / alone.seconds
            found.append(Context(probe.kind, precision, alone.seconds, ratio))
    return found


def _jobs(device: str) -> Iterator[tuple[Probe, str, str]]:
    probes = LAYER_PROBES + (FUSED_PROBES if device == "cpu" else ())
    for probe in probes:
        for precision in ("fp32", "bf16"):
            for memory_format in probe.formats:
                yield probe, precision, memory_format


def _measure(
    probe: Probe,
    precision: str,
    memory_format: str,
    device: str,
    dispatch_s: float,
    budget_s: float,
) -> Rate:
    op = _operation(probe)
    synchronize = _synchronizer(device)
    while True:
        train = _training_call(probe, precision, memory_format, device)
        timing = time_calls(train, synchronize=synchronize, budget_s=budget_s / 2, most_calls=50)
        # A GPU needs more to chew on, or all that is timed is dispatch.
        hidden = timing.median_s < BUSY_OVER_DISPATCH * op.launches * dispatch_s
        if device == "cpu" or not hidden or probe.batch_size >= MOST_SAMPLES:
            break
        probe = replace(probe, batch_size=4 * probe.batch_size)
    busy_s = max(timing.median_s - op.launches * dispatch_s, timing.median_s / 4)
    form = f"{precision} {memory_format}" if op.image else precision
    return Rate(
        probe.kind,
        form,
        op.size_at(probe.batch_size),
        op.work(probe.batch_size) / busy_s,
        timing.high_s / timing.low_s,
    )


def _operation(probe: Probe) -> Op:
    """Return what a forecast would count for the probe's layers."""
    network = Network("probe", probe.shape, 10, probe.layers)
    graph = count_operations(network, _any_recipe(), fused=probe.kind == "fused convolution")
    op = next(op for op in graph.ops if op.kind == probe.kind)
    if not probe.needs_input_gradient or op.kind not in (
        "convolution",
        "fused convolution",
        "matrix product",
    ):
        return op
    # Counted as a first layer, without the gradient of its input; here it has one.
    return replace(op, work_per_sample=op.work_per_sample * 1.5)


def _training_call(
    probe: Probe, precision: str, memory_format: str, device: str
) -> Callable[[], None]:
    network = Network("probe", probe.shape, 10, probe.layers)
    module: nn.Module = build(network, fused=probe.kind == "fused convolution").to(device)
    x = torch.randn(probe.batch_size, *probe.shape, device=device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if len(probe.shape) == 3:
        module = module.to(memory_format=FORMATS[memory_format])  # pyright: ignore[reportCallIssue]
        x = x.contiguous(memory_format=FORMATS[memory_format])
    x = x.to(dtype).requires_grad_(probe.needs_input_gradient)
    parameters = list(module.parameters())
    gradient: Tensor | None = None

    def call() -> None:
        nonlocal gradient
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            y = module(x)
        gradient = torch.ones_like(y) if gradient is None else gradient
        torch.autograd.backward(y, gradient)
        x.grad = None
        for parameter in parameters:
            parameter.grad = None

    return call


def _dispatch_cost(device: str, synchronize: Callable[[], object]) -> float:
    """Return seconds per operation of a network whose arithmetic is nothing."""
    layers: tuple[Layer, ...] = (Linear(8, 8), RELU) * 10
    train = _training_call(Probe(layers, (8,), "elementwise", 4), "fp32", "contiguous", device)
    network = Network("probe", (8,), 8, layers)
    graph = count_operations(network, _any_recipe(), fused=False)
    launches = sum(op.launches for op in graph.ops if op.name.startswith(("linear", "relu")))
    return time_calls(train, synchronize=synchronize, budget_s=0.2).median_s / launches


def _vector_rates(device: str, synchronize: Callable[[], object]) -> Iterator[Rate]:
    """Yield the rates of elementwise passes over parameters and of taking batches from memory."""
    for count in (50_000, 10_000_000):
        a, b = torch.zeros(count, device=device), torch.ones(count, device=device)
        timing = time_calls(lambda a=a, b=b: a.add_(b), synchronize=synchronize, budget_s=0.05)
        yield Rate("optimizer", "fp32", (count, 1.0), 3 * count / timing.median_s, 1.0)
    for values, batch in ((784, 256), (3072, 256)):
        images = torch.zeros(8192, values, dtype=torch.uint8, device=device)
        rows = torch.randperm(8192, device=device)[:batch]
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            timing = time_calls(
                lambda i=images, r=rows, d=dtype: i[r].to(d).mul_(2.0).add_(1.0),
                synchronize=synchronize,
                budget_s=0.05,
            )
            for memory_format in FORMATS:
                form = f"{precision} {memory_format}"
                rate = values * batch / timing.median_s
                yield Rate("input", form, (float(values * batch), 1.0), rate, 1.0)


def _orthogonalisation_rates(device: str, synchronize: Callable[[], object]) -> Iterator[Rate]:
    """Yield the rates of an iteration of Muon's; its products are too small to go by others."""
    for short, long in ((10, 84), (16, 150), (84, 120), (120, 400), (128, 784), (256, 2304)):
        flops = 4.0 * short * short * long + 2.0 * short**3
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            x = torch.randn(short, long, device=device, dtype=dtype)

            def iterate(x: Tensor = x) -> Tensor:
                gram = x @ x.t()
                return torch.addmm(x, torch.addmm(gram, gram, gram), x)

            timing = time_calls(iterate, synchronize=synchronize, budget_s=0.03)
            size = (float(short), float(long))
            yield Rate("orthogonalisation", precision, size, flops / timing.median_s, 1.0)


def _any_recipe() -> Recipe:
    return read_recipe(["data=mnist", "model=mlp", "optimizer=sgd"])


def _synchronizer(device: str) -> Callable[[], object]:
    """Return what waits for a device; the CPU is done when a call returns."""
    return partial(torch.cuda.synchronize, device) if device.startswith("cuda") else lambda: None
