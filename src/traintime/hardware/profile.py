"""What a device sustains: measured rates by kind of operation, precision and size."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from traintime.hardware.machine import Gpu, Machine
from traintime.hardware.processor import ProcessorRates
from traintime.ledger.atomic import write_bytes_atomically

PROFILE_FORMAT = 3


@dataclass(frozen=True)
class Rate:
    """How fast one kind of operation goes at one size.

    Args:
        kind: As `Op.kind` names it.
        form: Precision and, for images, memory format: "bf16 channels_last".
        size: Coordinates of what the rate depends on, as `Op.size` gives them.
        per_s: FLOP or bytes per second.
        spread: Longest over shortest of the timed calls.
    """

    kind: str
    form: str
    size: tuple[float, ...]
    per_s: float
    spread: float


@dataclass(frozen=True)
class Context:
    """How much longer operations take inside a network than one by one.

    Args:
        kind: Of the operation that takes most of the network's time.
        precision: "fp32" or "bf16".
        alone_s: Sum of the operations' times, one by one.
        ratio: Time of the whole network over that.
    """

    kind: str
    precision: str
    alone_s: float
    ratio: float


@dataclass(frozen=True)
class HardwareProfile:
    """A device and what it sustains.

    Args:
        machine: What the machine has.
        device: "cpu" or "cuda:N".
        evidence: "measured on this machine", or "specs only" if rates were scaled from another.
        rates: Of operations.
        contexts: Of whole networks, whose layers push each other out of the caches.
        dispatch_s: Seconds to dispatch one operation, forward and backward.
        disk_bytes_per_s: Reading the cached data.
        import_s: Importing torch.
        measured_on: ISO date.
        software: Versions that matter, by name.
        processor: What all else on a processor is a share of; None for other devices.
        unsteadiness: σ of the logarithm of the processor's rates from second to second.
    """

    machine: Machine
    device: str
    evidence: str
    rates: tuple[Rate, ...]
    contexts: tuple[Context, ...]
    dispatch_s: float
    disk_bytes_per_s: float
    import_s: float
    measured_on: str
    software: dict[str, str]
    processor: ProcessorRates | None = None
    unsteadiness: float = 0.0

    def rate(self, kind: str, form: str, size: Sequence[float]) -> float | None:
        """Return FLOP/s or byte/s of an operation, or None if its kind was never measured so.

        Between the measured sizes the logarithm of the rate is interpolated, each point weighted by
        the inverse square of its distance (Shepard 1968); far beyond them their mean holds.
        """
        points = self._by_kind.get((kind, form))
        if not points:
            return None
        weight_sum = value_sum = 0.0
        for point in points:
            squared = sum(math.log(a / b) ** 2 for a, b in zip(point.size, size, strict=True))
            if squared < 1e-9:
                return point.per_s
            weight_sum += 1 / squared
            value_sum += math.log(point.per_s) / squared
        return math.exp(value_sum / weight_sum)

    def context(self, kind: str, precision: str, alone_s: float) -> float:
        """Return how much longer a network takes than its operations one by one.

        Between the measured networks of its kind the ratio is interpolated over the logarithm of
        the time; beyond them the nearest holds, and without any it is 1.
        """
        alike = [c for c in self.contexts if (c.kind, c.precision) == (kind, precision)]
        points = sorted((c.alone_s, c.ratio) for c in alike)
        if not points:
            return 1.0
        for (low_s, low), (high_s, high) in itertools.pairwise(points):
            if low_s <= alone_s <= high_s:
                share = math.log(alone_s / low_s) / max(1e-9, math.log(high_s / low_s))
                return low * (high / low) ** share
        return points[0][1] if alone_s < points[0][0] else points[-1][1]

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str], list[Rate]]:
        table: dict[tuple[str, str], list[Rate]] = {}
        for rate in self.rates:
            table.setdefault((rate.kind, rate.form), []).append(rate)
        return table

    @cached_property
    def digest(self) -> str:
        """Names these very measurements: measuring again, or scaling, makes another."""
        values = self.to_json()  # of which a remembered profile has the same
        measured = json.dumps([values[part] for part in ("rates", "contexts", "dispatch_s")])
        return hashlib.sha256(measured.encode()).hexdigest()[:12]

    def scaled_to(self, machine: Machine) -> HardwareProfile:
        """Return a guess for another machine: rates in proportion to cores and clock."""
        clock = machine.ghz / self.machine.ghz if machine.ghz and self.machine.ghz else 1.0
        factor = machine.cores / self.machine.cores * clock
        rates = tuple(dataclasses.replace(rate, per_s=rate.per_s * factor) for rate in self.rates)
        processor = self.processor and self.processor.scaled_by(factor)
        return dataclasses.replace(
            self, machine=machine, evidence="specs only", rates=rates, processor=processor
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` understands."""
        values = dataclasses.asdict(self)
        values["rates"] = [list(dataclasses.astuple(rate)) for rate in self.rates]
        values["contexts"] = [list(dataclasses.astuple(context)) for context in self.contexts]
        return {"format": PROFILE_FORMAT, **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> HardwareProfile:
        """Return the profile that `to_json` described.

        Raises:
            ValueError: Another format, or damaged.
        """
        values = dict(values)
        if values.pop("format", None) != PROFILE_FORMAT:
            raise ValueError("another format")
        try:
            machine = dict(values.pop("machine"))
            gpus = tuple(Gpu(**gpu) for gpu in machine.pop("gpus"))
            rates = tuple(
                Rate(kind, form, tuple(size), per_s, spread)
                for kind, form, size, per_s, spread in values.pop("rates")
            )
            contexts = tuple(Context(*context) for context in values.pop("contexts"))
            found = Machine(gpus=gpus, **machine)
            processor = values.pop("processor")
            return cls(
                machine=found,
                rates=rates,
                contexts=contexts,
                processor=ProcessorRates(**processor) if processor else None,
                **values,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"damaged: {error}") from error


def save_profile(profile: HardwareProfile, path: Path) -> None:
    """Remember a profile."""
    write_bytes_atomically(path, json.dumps(profile.to_json()).encode())


def load_profile(path: Path) -> HardwareProfile | None:
    """Return a remembered profile; None if there is none that this version can read."""
    try:
        return HardwareProfile.from_json(json.loads(path.read_bytes()))
    except (OSError, TypeError, ValueError):
        return None
