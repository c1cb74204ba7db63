"""What it costs several devices to agree on a gradient.

Each computes its part of the batch; gradients are summed by rings, bucket by bucket, while the rest
of the backward goes on. Efficiencies and latencies are those of Calculon's A100 systems (Isaev et
al. 2023, https://github.com/calculon-ai/calculon); buckets those of DistributedDataParallel.
"""

from __future__ import annotations

import math

from traintime.errors import InputError
from traintime.hardware.devices import DeviceCount, DeviceSpec
from traintime.units import MIB

NODE_DEVICES = 8
NODE_EFFICIENCY, NODE_LATENCY_S = 0.65, 10e-6
NETWORK_EFFICIENCY, NETWORK_LATENCY_S = 0.9, 20e-6
NETWORK_BYTES_PER_S = 25e9
"""Assumed between nodes: one adapter of 200 Gbit/s for each device."""
BUCKET_BYTES = 25 * MIB
"""torch.nn.parallel.DistributedDataParallel, bucket_cap_mb."""
COUNTED_ONE_WAY = ("PCIe", "RoCE")
"""Links whose data sheets count one direction; the others' count both together."""
BRIDGED = 2
"""Cards that a bridge ties; more of them talk over their slots."""
SLOT_BYTES_PER_S = {"Volta": 16e9, "Turing": 16e9, "Ampere": 32e9, "Ada": 32e9}
NEWEST_SLOT_BYTES_PER_S = 64e9
"""One direction of PCIe 3, 4 and 5 with 16 lanes, which the cards of these designs have."""


def exposed_all_reduce_s(gradient_bytes: float, device: DeviceCount, backward_s: float) -> float:
    """Return how much longer a step takes because gradients are summed over devices.

    K buckets of equal size become ready evenly over the backward, and each is sent when it is ready
    and the one before is through. So the last one ends c after the backward, or K·c after the first
    was ready, whichever is later; c is what one bucket takes.

    Args:
        gradient_bytes: Of all gradients on one device.
        device: How many of what.
        backward_s: Of the last micro-batch's backward.
    """
    if device.count == 1:
        return 0.0
    buckets = math.ceil(gradient_bytes / BUCKET_BYTES)
    one_s = all_reduce_s(gradient_bytes / buckets, device)
    return max(one_s, buckets * one_s - backward_s * (buckets - 1) / buckets)


def all_reduce_s(num_bytes: float, device: DeviceCount) -> float:
    """Return the time to sum a vector over all devices.

    2(n-1)/n · bytes / (bandwidth · η) + latency, the traffic of a ring (Patarasuk & Yuan 2009).
    Beyond a node each device reduces its share within the node first, sums it with the same share
    of the other nodes over the network, and spreads the result.
    """
    inside = min(device.count, node_devices(device.spec))
    nodes = math.ceil(device.count / inside)
    speed = link_bytes_per_s(device) * NODE_EFFICIENCY
    seconds = 2 * (inside - 1) / inside * num_bytes / speed + NODE_LATENCY_S
    if nodes > 1:
        share = num_bytes / inside / (NETWORK_BYTES_PER_S * NETWORK_EFFICIENCY)
        seconds += 2 * (nodes - 1) / nodes * share + NETWORK_LATENCY_S
    return seconds


def node_devices(spec: DeviceSpec) -> int:
    """Return how many devices their own link ties; a TPU's ties all of a pod."""
    return 10**6 if spec.kind == "tpu" else NODE_DEVICES


def link_bytes_per_s(device: DeviceCount) -> float:
    """Return the bandwidth between devices of a node, in one direction.

    Raises:
        InputError: It is not known how such devices are tied together.
    """
    spec = device.spec
    both_ways = spec.interconnect_bytes_per_s
    if not both_ways:
        raise InputError(
            f"Nothing is known of how several {spec.name} are tied together. "
            f"Type device={spec.key} for one of them"
        )
    if "bridge" in spec.interconnect and device.count > BRIDGED:
        return SLOT_BYTES_PER_S.get(spec.architecture, NEWEST_SLOT_BYTES_PER_S)
    return both_ways if spec.interconnect.startswith(COUNTED_ONE_WAY) else both_ways / 2
