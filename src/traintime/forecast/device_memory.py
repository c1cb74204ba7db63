"""Peak memory of training on one device, by part, and the batch that fits.

A step's peak lies in its backward, which the captured graph knows to the byte, or in its update:

    peak = weights + optimizer + buffers + input + max(live in the backward, live in the update)

Where devices divide weights, gradients or the optimizer's values, each holds its part; weights are
gathered block by block. Where blocks compute their forward again, each keeps its input alone.

What torch's allocator holds beyond that, and what cuDNN takes to work in, is a share of it, fitted
by `calibration/memory.py` to batches that ran and the next larger ones that did not. On a CPU the
share is found by playing the step through on glibc's heap, where the model was captured for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist

from traintime.forecast.device_step import DevicePrecision
from traintime.forecast.heap_peak import captured_heap_peak
from traintime.forecast.recomputed import blocks_of
from traintime.forecast.sharded import computed_in, value_bytes
from traintime.hardware.devices import DeviceSpec
from traintime.recipe.question import Sharding
from traintime.units import GIB, MIB, Interval
from traintime.workload.kernels import Amount, KernelGraph

SLOTS = {"sgd": 1, "adam": 2, "adamw": 2, "muon": 1}
"""Values that an optimizer keeps for each parameter; sgd with momentum."""
HELD_SHARE = 0.09
"""Blocks of 2 MiB, cached and split ones, and work space of convolutions, relative to all tensors.
Fitted to 519 rows of timm's tables (RTX 3090, AMP, torch 1.12; 0.16 with torch 1.10), where the
logarithm of the rest has a deviation of 0.06 (0.14 with torch 1.10)."""
MEMORY_SIGMA = 0.08
"""Between both of these: nobody says which version will run."""
CPU_HELD_SHARE = 0.65
"""What glibc keeps and libraries work in on a CPU where freed memory is kept for the next step: the
median of 80 steps of 20 networks (`benchmarks/forecast_here.py`), most for the smallest."""
CPU_MEMORY_SIGMA = 0.35
"""Deviation of the logarithm of the rest there."""
HEAP_SIGMA = 0.14
"""The same where the heap is played through. Taken wider than the 20 networks of
`benchmarks/forecast_here.py` ask for, in sight of which its rules were written."""
MOST_PLAYED_BYTES = 2**39
"""No machine's heap is larger, and playing it takes a byte for each page."""
CONTEXT_BYTES = {"cpu": 330 * MIB, "apple": 330 * MIB}
"""A Python process with torch loaded, where its memory is the device's; see `forecast.memory`."""
GPU_CONTEXT_BYTES = GIB // 2
"""Assumed: a CUDA context with the kernels that a training loads lazily (CUDA 11.7 or later)."""
DRIVER_SHARE = 0.0125
"""Of a GPU's memory: torch's out-of-memory messages speak of 23.69 GiB of 24, and 79.15 of 80."""
SURE_ENOUGH = 0.9
"""Chance of fitting from which a batch counts as one that does."""
SURE_SIGMAS = NormalDist().inv_cdf(SURE_ENOUGH)
MOST_SAMPLES = 2**40


@dataclass(frozen=True)
class MemoryUse:
    """How a job uses one device, but for the size of its micro-batch.

    Args:
        graph: In the numerics of what is computed in: "amp" for that, else "fp32".
        size: u, the input's size relative to the captured one.
        sample_bytes: Of one sample as the device is given it.
        precision: "half" means that weights are kept in 16 bits too.
        optimizer: Name.
        accumulates: Whether a step has several micro-batches, which keep gradients alive.
        num_devices: That share each batch; with several, gradients are copied into buckets.
        spec: The device.
        sharding: What the devices divide among them.
        recompute: Whether blocks compute their forward again in the backward.
        heap_share: What a heap that was played through holds beyond tensors, relative to them.
    """

    graph: KernelGraph
    size: float
    sample_bytes: float
    precision: DevicePrecision
    optimizer: str
    accumulates: bool
    num_devices: int
    spec: DeviceSpec
    sharding: Sharding = "none"
    recompute: bool = False
    heap_share: float | None = None

    def with_heap(self, micro_batch: int) -> MemoryUse:
        """Return the same with what a CPU's heap holds, played through once at a micro-batch.

        The share that is found stands for other micro-batches too, and for gradients that stay.
        Nothing changes where the heap is not known: of a model that is computed otherwise than it
        was captured, or not for a CPU.
        """
        as_captured = self.size == 1.0 and self._halved == 1.0 and not self.recompute
        if self.spec.kind != "cpu" or not as_captured:
            return self
        tensors = replace(self, accumulates=False, num_devices=1).tensors(micro_batch)
        if tensors > MOST_PLAYED_BYTES:
            return self
        peak = captured_heap_peak(self.graph, micro_batch, SLOTS[self.optimizer])
        return self if peak is None else replace(self, heap_share=peak / tensors - 1)

    @property
    def held_share(self) -> float:
        """What is held beyond tensors, relative to them."""
        return held_share(self.spec) if self.heap_share is None else self.heap_share

    @property
    def sigma(self) -> float:
        """Deviation of the logarithm of a peak from its forecast."""
        return memory_sigma(self.spec) if self.heap_share is None else HEAP_SIGMA

    @cached_property
    def _halved(self) -> float:
        computed = computed_in(self.precision, self.sharding, self.num_devices)
        return 0.5 if computed == "half" else 1.0

    @cached_property
    def _all_weights(self) -> float:
        """Bytes of all weights, and of all gradients, however many devices hold them."""
        return (2.0 if self.precision == "half" else 4.0) * self.graph.parameters

    @cached_property
    def _weights(self) -> float:
        return self._all_weights / (self.num_devices if self.sharding == "full" else 1)

    @cached_property
    def _slots(self) -> float:
        divided = self.num_devices if self.sharding != "none" else 1
        return self._all_weights * SLOTS[self.optimizer] / divided

    @cached_property
    def _gathered(self) -> float:
        """Bytes of weights and gradients that are whole for a while where each device has a part.

        What stands outside the blocks is whole from its forward to its backward, and its gradients
        after that; of the blocks one that computes, the next, and the gradients of one. Without
        blocks all are.
        """
        if self.sharding != "full" or self.num_devices == 1:
            return 0.0
        blocks, values = self.graph.blocks, 2 * self.graph.parameters
        if blocks:
            values = 2 * (self.graph.parameters - blocks.parameters) + 3 * blocks.largest
        return value_bytes(self.precision) * values

    def by_part(self, micro_batch: float) -> Mapping[str, float]:
        """Return bytes by part at a micro-batch; their sum is the expected peak.

        What the others leave is workspace. A heap may be smaller than all that is counted, since a
        CPU's update goes from weight to weight: then less of the activations is alive at the peak.
        """
        weights, kept = self._weights, self._kept(micro_batch)
        rest = self._rest(micro_batch)
        activations = min(kept, self._live(micro_batch, kept) - weights, rest)
        gathered = {"gathered layers": self._gathered} if self._gathered else {}
        return {
            "weights": weights,
            "gradients": weights + self._buckets,
            "optimizer": self._slots,
            **gathered,
            "buffers": self._halved * self.graph.buffers_bytes,
            "input": micro_batch * self.sample_bytes,
            "activations": activations,
            "workspace": rest - activations,
            "context": context_bytes(self.spec),
        }

    def peak(self, micro_batch: float) -> float:
        """Return the expected peak in bytes: the sum of all parts."""
        return self._least(micro_batch) + self._rest(micro_batch) + context_bytes(self.spec)

    def _least(self, micro_batch: float) -> float:
        """Return the bytes of tensors at an update, which are the least that a peak can be."""
        return self._standing + micro_batch * self.sample_bytes + self._weights

    def _rest(self, micro_batch: float) -> float:
        """Return what a peak has beyond that."""
        held = (1 + self.held_share) * self.tensors(micro_batch)
        return max(held - self._least(micro_batch), 0.0)

    def tensors(self, micro_batch: float) -> float:
        """Return the most bytes of tensors that are alive at once."""
        live = self._live(micro_batch, self._kept(micro_batch))
        return self._standing + micro_batch * self.sample_bytes + live

    @cached_property
    def _standing(self) -> float:
        """Return bytes of weights, their optimizer's values, buffers, buckets and what is whole."""
        kept = self._weights + self._slots + self._halved * self.graph.buffers_bytes
        return kept + self._buckets + self._gathered

    @cached_property
    def _buckets(self) -> float:
        """Bytes that DistributedDataParallel copies gradients into, as many as all of them.

        https://github.com/pytorch/pytorch/pull/41954 measures 8,250 MB with, 7,183 MB without.
        """
        return self._weights if self.num_devices > 1 and self.sharding != "full" else 0.0

    def _of_samples(self, amount: Amount, micro_batch: float) -> float:
        """Return the bytes of an amount, without those of weights where these are gathered.

        What does not grow with the batch are copies of weights in 16 bits, and gradients.
        """
        num_bytes = amount.at(micro_batch, self.size)
        if self.sharding == "full" and self.num_devices > 1:
            num_bytes -= amount.at(0, self.size)
        return self._halved * num_bytes

    def _kept(self, micro_batch: float) -> float:
        kept = self._of_samples(self.graph.kept_bytes, micro_batch)
        if not self.recompute:
            return kept
        blocks = blocks_of(self.graph)
        grows = blocks.kept_bytes.at(micro_batch, self.size) - blocks.kept_bytes.at(0, self.size)
        inputs = blocks.passed_bytes.at(micro_batch, self.size)
        return kept - self._halved * max(grows - inputs, 0.0)

    def _live(self, micro_batch: float, kept: float) -> float:
        """Return the most that is live of gradients, activations and what is between them.

        Gradients of an earlier micro-batch stay alive beside all activations. The update of
        torch's optimizers holds as much again as the weights (their documentation, "foreach"). The
        captured peak is no less than what is kept, but far from the captured sizes its parabola is.
        """
        beyond = self._beyond(micro_batch)
        backward = kept + beyond
        if self.recompute:
            most = self._of_samples(blocks_of(self.graph).most_bytes, micro_batch)
            backward = max(backward, most + max(kept, self._weights))
        if self.sharding == "full" and self.num_devices > 1:
            backward += self._weights
        if self.accumulates:
            backward = max(backward, kept + self._weights)
        return max(backward, self._weights + self._updated)

    def _beyond(self, micro_batch: float) -> float:
        """Return what the captured peak has beyond all that is kept for the backward."""
        peak = self._of_samples(self.graph.peak_bytes, micro_batch)
        return max(peak - self._of_samples(self.graph.kept_bytes, micro_batch), 0.0)

    @property
    def _updated(self) -> float:
        """Bytes of the weights that a device updates."""
        return self._all_weights / (self.num_devices if self.sharding != "none" else 1)


@dataclass(frozen=True)
class Room:
    """How a job fits into one device.

    Args:
        by_part: Bytes of the expected peak.
        capacity_bytes: Of the device; None if it shares the machine's memory.
        chance: Probability that the peak is below it; None without one.
        largest_batch_size: Over all devices and micro-batches; None without a capacity.
    """

    by_part: Mapping[str, float]
    capacity_bytes: float | None
    chance: float | None
    largest_batch_size: int | None

    @property
    def peak_bytes(self) -> float:
        """The expected peak."""
        return sum(self.by_part.values())


def find_room(use: MemoryUse, micro_batch: int, parts: int) -> Room:
    """Return how a micro-batch fits, and the largest batch that would.

    Args:
        use: Of the device.
        micro_batch: Samples that it computes at a time.
        parts: Into which a batch is split over devices and micro-batches.
    """
    by_part, capacity = use.by_part(micro_batch), capacity_bytes(use.spec)
    if capacity is None:
        return Room(by_part, None, None, None)
    chance = chance_it_fits(sum(by_part.values()), capacity, use.sigma)
    return Room(by_part, capacity, chance, parts * largest_fitting(use.peak, capacity, use.sigma))


def capacity_bytes(spec: DeviceSpec) -> float | None:
    """Return a device's memory, or None where that is the machine's.

    What the catalogue has of a processor is the most that it can be given.
    """
    return None if spec.kind == "cpu" and spec.confidence != "user" else spec.memory_bytes


def context_bytes(spec: DeviceSpec) -> float:
    """Return what is used before the first tensor is made."""
    if spec.kind in CONTEXT_BYTES:
        return float(CONTEXT_BYTES[spec.kind])
    return GPU_CONTEXT_BYTES + DRIVER_SHARE * (spec.memory_bytes or 0)


def held_share(spec: DeviceSpec) -> float:
    """Return what is held beyond tensors, relative to them."""
    return CPU_HELD_SHARE if spec.kind == "cpu" else HELD_SHARE


def memory_sigma(spec: DeviceSpec) -> float:
    """Return the deviation of the logarithm of a peak from its forecast."""
    return CPU_MEMORY_SIGMA if spec.kind == "cpu" else MEMORY_SIGMA


def peak_interval(peak_bytes: float, sigma: float = MEMORY_SIGMA) -> Interval:
    """Return the interval of a peak that is expected to be so large."""
    return Interval.lognormal(peak_bytes, sigma)


def chance_it_fits(peak_bytes: float, capacity_bytes: float, sigma: float = MEMORY_SIGMA) -> float:
    """Return the probability that a peak expected to be so large is below the capacity."""
    return NormalDist().cdf(math.log(capacity_bytes / peak_bytes) / sigma)


def largest_fitting(
    peak: Callable[[int], float], capacity_bytes: float, sigma: float = MEMORY_SIGMA
) -> int:
    """Return the most samples that fit at nine chances in ten, 0 if not even one does.

    Args:
        peak: Expected bytes at a number of samples; never falls as it grows.
        capacity_bytes: Of the device.
        sigma: Of the logarithm of the peak.
    """
    limit = capacity_bytes / math.exp(SURE_SIGMAS * sigma)
    fits, too_many = 0, 1
    least = most = peak(1)
    while too_many < MOST_SAMPLES and most <= limit:
        fits, too_many, least = too_many, 4 * too_many, most
        most = peak(too_many)
    halve = False
    while too_many - fits > 1:
        share = 0.5 if halve else (limit - least) / (most - least)  # it grows about evenly
        tried = min(max(fits + int(share * (too_many - fits)), fits + 1), too_many - 1)
        there = peak(tried)
        halve = not halve
        if there <= limit:
            fits, least = tried, there
        else:
            too_many, most = tried, there
    return fits
