"""Clocks for calls on a GPU, and on a CPU for a smoke test."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable

import torch

from traintime.hardware.timer import Timing, time_calls

Call = Callable[[], object]


class CpuClock:
    """Times calls on the CPU, for a smoke test."""

    synchronize = staticmethod(lambda: None)

    def time(self, call: Call) -> Timing:
        """Return a call's time."""
        return time_calls(call, budget_s=0.005)

    def time_each(self, call: Call, least_calls: int) -> Timing:
        """Return the time of one of many calls in a row."""
        return time_calls(call, budget_s=0.1, least_calls=least_calls)

    def close(self) -> None:
        """Give back nothing."""


class CudaClock:
    """Times calls on a GPU by events, with a cold cache and the host ahead of the device.

    What flushes the cache is read, not written: written lines would have to be cleared away
    meanwhile. Before the first repeat the device is given as much to read as the host needs to
    queue all of them.
    """

    LEAST_CALLS, MOST_CALLS, BUDGET_S = 10, 30, 0.02
    LEAST_FLUSHED_BYTES = 2**28
    MOST_READS_AHEAD = 200

    def __init__(self) -> None:
        cache_bytes = getattr(torch.cuda.get_device_properties("cuda"), "L2_cache_size", 0)
        num_bytes = max(4 * cache_bytes, self.LEAST_FLUSHED_BYTES)
        self._flushed = torch.zeros(num_bytes // 4, device="cuda")
        self._flush_s = statistics.median(_between_events(self._flush, 10))

    @staticmethod
    def synchronize() -> None:
        """Wait for the device."""
        torch.cuda.synchronize()

    def time(self, call: Call) -> Timing:
        """Return a call's time, each with a cold cache; its first calls stay out."""
        for _ in range(2):
            call()
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        host_s = time.perf_counter() - began
        torch.cuda.synchronize()
        device_s = max(_between_events(call, 1)[0], 1e-6)
        calls = min(max(int(self.BUDGET_S / device_s), self.LEAST_CALLS), self.MOST_CALLS)
        reads = min(math.ceil(calls * host_s / self._flush_s) + 5, self.MOST_READS_AHEAD)
        for _ in range(reads):
            self._flush()
        return timing_of(_between_events(call, calls, before_each=self._flush))

    def time_each(self, call: Call, least_calls: int) -> Timing:
        """Return the time of one of many calls in a row, whoever is slower: host or device."""
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        estimate_s = statistics.median(_from_event_to_event(call, 2))
        calls = min(max(int(0.3 / estimate_s), least_calls), 30)
        return timing_of(_from_event_to_event(call, calls))

    def close(self) -> None:
        """Give the memory back that flushes the cache."""
        self._flushed = torch.empty(0)
        torch.cuda.empty_cache()

    def _flush(self) -> None:
        self._flushed.sum()


def _between_events(call: Call, calls: int, before_each: Call = lambda: None) -> list[float]:
    """Return the device's seconds of each call."""
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
    for began, ended in pairs:
        before_each()
        began.record()
        call()
        ended.record()
    torch.cuda.synchronize()
    return [began.elapsed_time(ended) / 1e3 for began, ended in pairs]


def _from_event_to_event(call: Call, calls: int) -> list[float]:
    """Return the seconds from the end of each call to the end of the next."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(events)]


def timing_of(seconds: list[float]) -> Timing:
    """Return what single calls come to."""
    return Timing(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


Clock = CpuClock | CudaClock


def clock_of(device: str) -> Clock:
    """Return the clock of a device."""
    return CudaClock() if device == "cuda" else CpuClock()


def times(timing: Timing) -> dict[str, float]:
    """Return the columns that every row ends with."""
    return {
        "median_s": timing.median_s,
        "low_s": timing.low_s,
        "high_s": timing.high_s,
        "n": timing.calls,
    }
