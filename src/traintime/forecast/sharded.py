"""What devices that divide a model among them send each other, beside gradients.

The stages of ZeRO (Rajbhandari, Rasley, Ruwase & He 2020, "ZeRO: Memory Optimizations Toward
Training Trillion Parameter Models", section 7), for n devices and a model of Ψ values:

    none       gradients are summed by an all-reduce, two passes over Ψ a step
    optimizer  gradients are summed where they are used, new weights gathered: two passes a step
    full       weights are gathered in forward and backward, gradients summed: three passes, for
               each micro-batch, since nobody keeps what was gathered or summed

A pass is what `data_parallel.passes_s` says. FullyShardedDataParallel (Zhao et al. 2023, "PyTorch
FSDP", sections 3 and 4) does the last block by block, gathering the next while one computes, so
links and network are busy at once and the slower of both decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from traintime.forecast.data_parallel import (
    Exchange,
    exposed_exchange_s,
    exposed_s,
    parts_of_passes_s,
    passes_s,
)
from traintime.forecast.device_step import DevicePrecision
from traintime.hardware.devices import DeviceCount
from traintime.recipe.question import Sharding
from traintime.units import Interval
from traintime.workload.kernels import KernelGraph

NOTHING = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Work:
    """What of one micro-batch an exchange may go on beside.

    Args:
        forward_s: Of the device.
        backward_s: The same, what is computed again included.
        micro_batches: Of a step.
    """

    forward_s: float
    backward_s: float
    micro_batches: int


def computed_in(
    precision: DevicePrecision, sharding: Sharding, num_devices: int
) -> DevicePrecision:
    """Return the precision that blocks are computed in.

    What mixed precision means where weights are gathered is that they, and what a block is given,
    are cast to 16 bits as a whole (FSDP's MixedPrecision); autocast leaves norms and what is added
    up along the blocks in 32. The parts that devices keep stay in 32 bits either way.
    """
    mixed = precision == "amp" and sharding == "full" and num_devices > 1
    return "half" if mixed else precision


def value_bytes(precision: DevicePrecision) -> float:
    """Return bytes of a weight as it is gathered, and of a gradient as it is summed then.

    Under autocast blocks are gathered in the 16 bits that they are computed in (FSDP's
    MixedPrecision, llm-foundry's `mixed_precision: PURE`).
    """
    return 2.0 if precision in ("amp", "half") else 4.0


def step_exchange_s(
    sharding: Sharding,
    graph: KernelGraph,
    precision: DevicePrecision,
    device: DeviceCount,
    work: Work,
    exchange: Exchange,
) -> Interval:
    """Return how much longer a step takes by all that devices send each other.

    Args:
        sharding: What they divide.
        graph: Whose values are sent.
        precision: That is computed in.
        device: How many of what.
        work: Of one micro-batch.
        exchange: What was fitted.

    Raises:
        InputError: It is not known how such devices are tied together.
    """
    if device.count == 1:
        return NOTHING
    kept_bytes = (2.0 if precision == "half" else 4.0) * graph.parameters
    if sharding == "none":
        return exposed_exchange_s(kept_bytes, device, work.backward_s, exchange)
    if sharding == "optimizer":
        summed = passes_s(1, kept_bytes, device, exchange)
        hidden = exposed_s(summed, work.backward_s, exchange.hidden_share)
        return hidden.plus(passes_s(1, kept_bytes, device, exchange))
    units = 1 + (graph.blocks.count if graph.blocks else 0)
    sent_bytes = value_bytes(precision) * graph.parameters

    def left(num_passes: int, beside_s: float) -> Interval:
        sent = parts_of_passes_s(num_passes, sent_bytes, device, exchange, num_passes * units)
        on_links, on_network = sent
        seconds = on_links.beside(on_network) if on_network else on_links
        return exposed_s(seconds, beside_s, exchange.prefetched_share)

    each = left(1, work.forward_s).plus(left(2, work.backward_s))
    return each.scaled(work.micro_batches)
