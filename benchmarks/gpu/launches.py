"""What a launch costs the device and what dispatch costs the host."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional as F

from gpu.cases import Maker
from gpu.clocks import Call, Clock, times, timing_of
from traintime.hardware.timer import Timing

MANY = 100


def overheads(clock: Clock, device: str) -> dict[str, dict[str, float]]:
    """Return what the smallest kernels cost the device: alone, in a row, in a graph."""
    one = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(MANY):
            one.add_(1)

    calls: dict[str, Call] = {
        "nothing between two events": lambda: None,
        "smallest kernel": lambda: one.add_(1),
        f"{MANY} smallest kernels": many,
    }
    if device == "cuda":
        calls[f"{MANY} smallest kernels in a graph"] = graphed(many)
    return {name: times(clock.time(call)) for name, call in calls.items()}


def dispatch_costs(clock: Clock, device: str) -> dict[str, dict[str, float]]:
    """Return what dispatching small operations costs the host, while the device keeps pace."""
    make = Maker(device, torch.float32, "")
    x, weight, bias = make(16, 16), make(16, 16, grad=True), make(16, grad=True)
    images, kernels = make(1, 8, 8, 8), make(8, 8, 3, 3)

    def linear() -> Tensor:
        return F.linear(x, weight, bias)

    def linear_and_back() -> None:
        torch.autograd.grad(linear().sum(), (weight, bias))

    def linear_under_autocast() -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return linear()

    calls: dict[str, Call] = {
        "view": lambda: x.view(-1),
        "add": lambda: x + x,
        "mm": lambda: x @ x,
        "convolution": lambda: F.conv2d(images, kernels, padding=1),
        "layer norm": lambda: F.layer_norm(x, (16,)),
        "linear with gradient": linear,
        "linear under autocast, with its casts": linear_under_autocast,
        "linear, sum and their backward": linear_and_back,
    }
    return {name: times(_host_times(call, clock)) for name, call in calls.items()}


def _host_times(call: Call, clock: Clock) -> Timing:
    """Return the host's seconds a call; few enough are queued that the host never waits."""
    seconds: list[float] = []
    for _ in range(12):
        clock.synchronize()
        began = time.perf_counter()
        for _ in range(MANY):
            call()
        seconds.append((time.perf_counter() - began) / MANY)
    clock.synchronize()
    return timing_of(seconds[2:])


def graphed(call: Call) -> Call:
    """Return a replay of all that a call launches."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
