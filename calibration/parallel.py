"""Fit what several devices cost to public measurements, and write what the forecast ships.

    .venv/bin/python calibration/parallel.py MEASURED

MEASURED is the folder of the public tables; the graphs of their models have been captured before
(`graphs.py`), and how far forecasts are off for devices that no fit saw is known
(`benchmarks/several_devices.py`): that makes the widths. The law is the forecast's own. Run again
it writes the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist

from measured_pairs import EACH, Pair, pairs
from traintime.forecast.data_parallel import (
    Exchange,
    deviations_of_slowest,
    exchange_parameters,
    exposed_exchange_s,
    link_between,
    node_devices,
    with_spread,
)
from traintime.hardware.devices import DeviceCount, find_device
from traintime.units import Interval

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "traintime" / "forecast" / "exchange_parameters.json"
ACCURACY = HERE.parent / "benchmarks" / "results" / "several_devices.json"
WIDTHS = ("jitter_spread", "link_spread", "shared_spread")
START = Exchange(
    link_share=0.5,
    slot_share=0.5,
    host_bytes_per_s=6e9,
    network_share=0.5,
    hidden_share=0.5,
    prefetched_share=exchange_parameters().prefetched_share,
    jitter=0.02,
    jitter_spread=0.02,
    link_spread=1.0,
    shared_spread=0.5,
    sources=(),
)
FITTED = (
    "link_share", "slot_share", "host_bytes_per_s", "network_share", "hidden_share", "jitter"
)  # fmt: skip
BACKWARD_SHARE = 2 / 3
"""Of a step: a backward does its forward's work twice."""
HUBER = 0.03
"""Error of a logarithm beyond which a pair counts linearly: machines whose links are not used."""
STEPS = (0.4, 0.1, 0.02, 0.004)
"""Of the search, relative to a parameter."""
MOST_SHARE = 0.8
"""What headers and flow control leave of a link; pairs that exchange little do not bound it."""
FEELS_LINK = 0.02
"""Share of a step in the exchange from which a pair tells of its link."""
CHIPS = ("v100", "a100", "h100", "quadro-rtx", "rtx-2080", "rtx-3080")
"""Variants of one chip are left out together."""


SPREADS = [0.05 * number for number in range(81)]
"""Of a logarithm, that are tried as widths."""

find_spec = cache(find_device)


def chip(pair: Pair) -> str:
    """Return what of a device is left out with it."""
    return next((name for name in CHIPS if pair.device.startswith(name)), pair.device)


def parts(pair: Pair, exchange: Exchange) -> tuple[float, Interval]:
    """Return seconds of a micro-batch on all devices without the exchange, and of the exchange.

    Both from the seconds on fewer; where those are several themselves, what they cost is taken off
    first.
    """
    if not pair.overlaps:
        exchange = dataclasses.replace(exchange, hidden_share=0.0)
    of_fewer, of_all = (
        exposed_exchange_s(
            pair.gradient_bytes,
            DeviceCount(find_spec(pair.device), count),
            BACKWARD_SHARE * pair.fewer_s,
            exchange,
        ).scaled(1 / micro_batches)
        for count, micro_batches in (
            (pair.fewer, pair.fewer_accumulate),
            (pair.num_devices, pair.accumulate),
        )
    )
    waited_before, waited = (
        1 + exchange.jitter * deviations_of_slowest(count)
        for count in (pair.fewer, pair.num_devices)
    )
    return max(pair.fewer_s - of_fewer.median, 0.0) / waited_before * waited, of_all


def forecast(pair: Pair, exchange: Exchange) -> Interval:
    """Return seconds of a micro-batch on all devices, from those on fewer."""
    apart_s, exchange_s = parts(pair, exchange)
    spread = exchange.jitter_spread * deviations_of_slowest(pair.num_devices)
    return with_spread(exchange_s.shifted(apart_s), spread)


def is_fitted_to(pair: Pair) -> bool:
    """Say whether a pair shows the exchange and little else.

    One process that dispatches for all devices is slowed down by that; where XLA compiles its steps
    there is next to nothing to dispatch, and nothing is hidden: it shows what links sustain.
    """
    return pair.processes == EACH or (not pair.overlaps and pair.source == "lambda-tf")


def fit(kept: Sequence[Pair]) -> Exchange:
    """Return the parameters that are least off, by going up and down along each in turn."""
    counts = Counter((p.source, p.device, p.num_devices) for p in kept)
    weights = [counts[p.source, p.device, p.num_devices] ** -0.5 for p in kept]

    def off_by(pair: Pair, exchange: Exchange) -> float:
        apart_s, exchange_s = parts(pair, exchange)
        return abs(math.log((apart_s + exchange_s.median) / pair.seconds))

    def cost(exchange: Exchange) -> float:
        offs = (off_by(pair, exchange) for pair in kept)
        return math.fsum(
            weight * (off - HUBER / 2 if off > HUBER else off**2 / (2 * HUBER))
            for weight, off in zip(weights, offs, strict=True)
        )

    best, least = START, cost(START)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for tried in _beside(best, step):
                off = cost(tried)
                if off < least:
                    best, least, improved = tried, off, True
    return best


def _beside(exchange: Exchange, step: float) -> Iterator[Exchange]:
    """Yield what is a step away along one parameter."""
    for name in FITTED:
        for factor in (1 + step, 1 / (1 + step)):
            value = getattr(exchange, name) * factor
            if value <= MOST_SHARE or not name.endswith("share"):
                yield dataclasses.replace(exchange, **{name: value})


def unseen(known: Sequence[Pair]) -> dict[str, Exchange]:
    """Return for each chip the parameters of a fit that saw nothing of it."""
    return {
        name: fit([p for p in known if chip(p) != name]) for name in sorted(set(map(chip, known)))
    }


def with_widths(
    exchange: Exchange, asked: Iterable[Pair], unseen_of: Mapping[str, Exchange]
) -> Exchange:
    """Return parameters with spreads that hold for 80 % of the pairs, those of each chip alike.

    What is not the link shows where next to nothing is exchanged; links show where more is.

    Args:
        exchange: What was fitted.
        asked: Pairs that tell.
        unseen_of: For each chip, a fit that saw nothing of it.
    """
    z = NormalDist().inv_cdf(0.9)
    calm: list[tuple[float, str]] = []
    busy: dict[str, list[Pair]] = {name: [] for name in ("link_spread", "shared_spread")}
    for pair in asked:
        apart_s, exchange_s = parts(pair, unseen_of[chip(pair)])
        seconds = apart_s + exchange_s.median
        if exchange_s.median > FEELS_LINK * seconds:
            busy["shared_spread" if is_shared(pair) else "link_spread"].append(pair)
        else:
            off = abs(math.log(seconds / pair.seconds)) / z
            calm.append((off / deviations_of_slowest(pair.num_devices), chip(pair)))
    exchange = dataclasses.replace(exchange, jitter_spread=_evenly_covering(calm))
    of_links = {
        name: _evenly_covering(
            [(_needed(name, pair, exchange, unseen_of[chip(pair)]), chip(pair)) for pair in told]
        )
        for name, told in busy.items()
    }
    return dataclasses.replace(exchange, **of_links)


def is_shared(pair: Pair) -> bool:
    """Say whether devices exchange mostly over what they share: a host's memory, a network."""
    device = DeviceCount(find_spec(pair.device), pair.num_devices)
    through_host = link_between(device, START).bytes_per_s == START.host_bytes_per_s
    return through_host or pair.num_devices > node_devices(device.spec)


def _needed(name: str, pair: Pair, exchange: Exchange, fitted: Exchange) -> float:
    """Return the least spread with which a pair lies within its interval."""
    fitted = dataclasses.replace(fitted, jitter_spread=exchange.jitter_spread)
    tried_each = (dataclasses.replace(fitted, **{name: tried}) for tried in SPREADS)
    covering = (
        getattr(tried, name) for tried in tried_each if pair.seconds in forecast(pair, tried)
    )
    return next(covering, SPREADS[-1])


def _evenly_covering(needed: Sequence[tuple[float, str]]) -> float:
    """Return the value that 80 % are at most, every chip's alike."""
    counts = Counter(name for _, name in needed)
    reached, level = 0.0, 0.8 * len(counts)
    for value, name in sorted(needed):
        reached += 1 / counts[name]
        if reached >= level:
            return value
    raise ValueError("nothing to cover")


def to_json(exchange: Exchange, known: Sequence[Pair]) -> dict[str, object]:
    """Return what the forecast reads."""
    values = dataclasses.asdict(exchange) | {"sources": sorted({pair.source for pair in known})}
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


def main() -> None:
    """Fit to everything and write the parameters, with the widths that devices left out ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measured", type=Path, help="folder of the public tables")
    given = parser.parse_args()
    known = [pair for pair in pairs(given.measured) if is_fitted_to(pair)]
    exchange = dataclasses.replace(fit(known), **json.loads(ACCURACY.read_text())["widths"])
    OUT.write_text(json.dumps(to_json(exchange, known), indent=1) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
