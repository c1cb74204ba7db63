"""What it costs several devices to compute parts of the same batch.

Each works on its own part, waits for the slowest of them, and all sum their gradients by rings.
What links, slots, hosts and networks sustain, how much of the exchange the backward hides and how
unevenly devices step stands in `exchange_parameters.json`, fitted by `calibration/parallel.py` to
public measurements of the same job on one device and on several. What they send where they divide
the model says `sharded.py`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import NormalDist

from traintime.errors import InputError
from traintime.hardware.devices import DeviceCount, DeviceSpec
from traintime.units import Interval

NODE_DEVICES = 8
LATENCY_S = 20e-6
"""Of an exchange, by Calculon's systems (Isaev et al. 2023, github.com/calculon-ai/calculon)."""
COUNTED_ONE_WAY = ("PCIe", "RoCE")
"""Links whose data sheets count one direction; the others' count both together."""
SLOT_BYTES_PER_S = {"Volta": 16e9, "Turing": 16e9, "Ampere": 32e9, "Ada": 32e9}
NEWEST_SLOT_BYTES_PER_S = 64e9
"""One direction of PCIe 3, 4 and 5 with 16 lanes, which the cards of these designs have."""
GAMING = ("GeForce", "Titan")
GAMING_WITHOUT_PEERS_FROM = 2018
"""Since Turing the driver lets cards made for games reach each other's memory by NVLink alone."""
ADAPTER_YEAR = 2020
"""Of devices whose year nobody knows."""


@dataclass(frozen=True)
class Exchange:
    """All that was fitted.

    Args:
        link_share: Of the data sheet's rate, one way, that a direct link sustains.
        slot_share: The same of a slot, between cards that reach each other's memory.
        host_bytes_per_s: Between cards that do not: through the host's memory.
        network_share: Of a node's adapters.
        hidden_share: Of the exchange that the backward hides, and of the backward that can.
        prefetched_share: The same where weights are gathered ahead of the blocks that need them,
            and of forward and backward (`calibration/sharded.py`).
        jitter: σ of a device's step over its mean; all wait for the slowest.
        jitter_spread: σ of that from one machine and job to another.
        link_spread: σ of the log of what a link or slot sustains: some machines cannot use theirs.
        shared_spread: The same of what devices share: a host's memory, a network.
        sources: Where the measurements come from.
    """

    link_share: float
    slot_share: float
    host_bytes_per_s: float
    network_share: float
    hidden_share: float
    prefetched_share: float
    jitter: float
    jitter_spread: float
    link_spread: float
    shared_spread: float
    sources: tuple[str, ...]


@cache
def exchange_parameters() -> Exchange:
    """Return the shipped parameters."""
    text = files("traintime.forecast").joinpath("exchange_parameters.json").read_text("utf-8")
    values = json.loads(text)
    return Exchange(**values | {"sources": tuple(values["sources"])})


@dataclass(frozen=True)
class Link:
    """What a device sends its part of the gradients over.

    Args:
        name: For people.
        bytes_per_s: Sustained in one direction.
        spread: σ of its logarithm.
    """

    name: str
    bytes_per_s: float
    spread: float


def deviations_of_slowest(num_devices: int) -> float:
    """Return how many deviations the largest of n normal values is above their mean.

    Φ⁻¹((n - 0.375) / (n + 0.25)) (Blom, Statistical Estimates and Transformed Beta-Variables,
    1958).
    """
    if num_devices == 1:
        return 0.0
    return NormalDist().inv_cdf((num_devices - 0.375) / (num_devices + 0.25))


def exposed_exchange_s(
    gradient_bytes: float,
    device: DeviceCount,
    backward_s: float,
    exchange: Exchange,
) -> Interval:
    """Return how much longer a step takes because gradients are summed over devices.

    A share of the exchange goes on beside the backward, at most as long as the same share of the
    backward lasts: what is sent meanwhile takes cores and bandwidth from it. The interval is from
    links of one machine to another's.

    Args:
        gradient_bytes: Of all gradients on one device.
        device: How many of what.
        backward_s: Of the last micro-batch's backward.
        exchange: What was fitted.

    Raises:
        InputError: It is not known how such devices are tied together.
    """
    if device.count == 1:
        return Interval(0.0, 0.0, 0.0)
    seconds = all_reduce_s(gradient_bytes, device, exchange)
    return exposed_s(seconds, backward_s, exchange.hidden_share)


def exposed_s(seconds: Interval, beside_s: float, share: float) -> Interval:
    """Return what is left of an exchange of which a share goes on beside work.

    Args:
        seconds: Of the exchange alone.
        beside_s: Of the work.
        share: Of the exchange that may be hidden, and of the work that can hide it.
    """

    def left(alone_s: float) -> float:
        return alone_s - min(share * alone_s, share * beside_s)

    return Interval(left(seconds.median), left(seconds.low), left(seconds.high), seconds.level)


def with_spread(seconds: Interval, sigma: float) -> Interval:
    """Return an interval that holds another, independent, log-normal factor too.

    Args:
        seconds: To either side as wide as it is.
        sigma: Of the logarithm of the factor.
    """
    z = NormalDist().inv_cdf(0.5 + seconds.level / 2)
    below = math.hypot(math.log(seconds.median / seconds.low), z * sigma)
    above = math.hypot(math.log(seconds.high / seconds.median), z * sigma)
    median = seconds.median
    return Interval(median, median / math.exp(below), median * math.exp(above), seconds.level)


def all_reduce_s(num_bytes: float, device: DeviceCount, exchange: Exchange) -> Interval:
    """Return the time to sum a vector over all devices, which takes two passes.

    Raises:
        InputError: It is not known how such devices are tied together.
    """
    return passes_s(2, num_bytes, device, exchange)


def passes_s(
    num_passes: int, num_bytes: float, device: DeviceCount, exchange: Exchange
) -> Interval:
    """Return the time of passes over all devices, each of which gathers or sums a vector once.

    Beyond a node each device does its share within the node first, then the same share with those
    of the other nodes over the network.

    Args:
        num_passes: One sums parts, each for one device, or gathers them; two do both.
        num_bytes: Of the whole vector.
        device: How many of what.
        exchange: What was fitted.

    Raises:
        InputError: It is not known how such devices are tied together.
    """
    on_links, on_network = parts_of_passes_s(num_passes, num_bytes, device, exchange)
    return on_links.plus(on_network) if on_network else on_links


def parts_of_passes_s(
    num_passes: int, num_bytes: float, device: DeviceCount, exchange: Exchange, messages: int = 1
) -> tuple[Interval, Interval | None]:
    """Return the time on the links of a node, and on the network if there are several nodes.

    (n-1)/n · bytes / rate for a pass, the traffic of a ring (Patarasuk & Yuan 2009), and the
    latency of each message.

    Args:
        num_passes: See `passes_s`.
        num_bytes: See there.
        device: See there.
        exchange: See there.
        messages: Parts that the vector is sent in, one after the other.
    """
    inside = min(device.count, node_devices(device.spec))
    nodes = math.ceil(device.count / inside)
    link = link_between(device, exchange)
    on_links_s = num_passes * (inside - 1) / inside * num_bytes / link.bytes_per_s
    on_links = Interval.lognormal(on_links_s, link.spread).shifted(messages * LATENCY_S)
    if nodes == 1:
        return on_links, None
    rate = network_bytes_per_s(device.spec) * exchange.network_share
    on_network_s = num_passes * (nodes - 1) / nodes * num_bytes / inside / rate
    on_network = Interval.lognormal(on_network_s, exchange.shared_spread)
    return on_links, on_network.shifted(messages * LATENCY_S)


def node_devices(spec: DeviceSpec) -> int:
    """Return how many devices their own link ties; a TPU's ties all of a pod."""
    return 10**6 if spec.kind == "tpu" else NODE_DEVICES


def network_bytes_per_s(spec: DeviceSpec) -> float:
    """Return the adapter's rate between nodes for each device, as its year's systems had it.

    One of 100 Gbit/s for two devices (DGX-1), of 200 for each (DGX A100), of 400 (DGX H100).
    """
    year = spec.year or ADAPTER_YEAR
    return 6.25e9 if year < 2020 else 25e9 if year < 2022 else 50e9


def link_between(device: DeviceCount, exchange: Exchange) -> Link:
    """Return what ties the devices of a node.

    Cards that a bridge can tie in pairs are taken to have none: that is what most machines were
    measured with.

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
    bridge = "bridge" in spec.interconnect
    if bridge or spec.interconnect.startswith("PCIe"):
        slot = _slot_bytes_per_s(spec.architecture) if bridge else both_ways
        name = f"PCIe slots of {slot / 1e9:.0f} GB/s"
        name += ", without bridges" if bridge else ""
        if _reaches_no_peer(spec):
            host = f"{name} and the host's memory"
            return Link(host, exchange.host_bytes_per_s, exchange.shared_spread)
        return Link(name, slot * exchange.slot_share, exchange.link_spread)
    one_way = both_ways if spec.interconnect.startswith(COUNTED_ONE_WAY) else both_ways / 2
    name = f"{spec.interconnect} of {one_way / 1e9:.0f} GB/s"
    return Link(name, one_way * exchange.link_share, exchange.link_spread)


def _slot_bytes_per_s(architecture: str) -> float:
    return SLOT_BYTES_PER_S.get(architecture, NEWEST_SLOT_BYTES_PER_S)


def _reaches_no_peer(spec: DeviceSpec) -> bool:
    return spec.name.startswith(GAMING) and (spec.year or 0) >= GAMING_WITHOUT_PEERS_FROM
