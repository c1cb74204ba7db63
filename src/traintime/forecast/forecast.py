"""A forecast: the whole job before it runs, as intervals, with what they stand on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from traintime.errors import InputError
from traintime.forecast.convergence import Curve
from traintime.forecast.correction import Correction
from traintime.forecast.kind_share import KindShare
from traintime.hardware.execution import Execution
from traintime.units import Interval


@dataclass(frozen=True)
class Forecast:
    """What a job will take.

    Args:
        evidence: What it stands on: "measured on this machine" or "specs only".
        assumptions: What has to hold, for people.
        execution: How the job will be computed.
        picks: What `auto` chose, and why.
        total_s: Until the result is there; a run with a target ends when it is reached.
        time_to_target_s: Until the validation that reaches the target, if it is reached.
        chance_of_target: Probability that it is reached within the epochs.
        time_to_end_s: Until the result if every epoch is run.
        stages_s: The same by stage: prepare, train, validate, evaluate.
        step_time_s: Of one optimizer step.
        step_by_kind: Where a step goes, the largest part first.
        peak_memory_bytes: Of the process, or on the GPU.
        memory_by_part: What it is made of.
        parameters: Learned values of the network.
        steps_per_epoch: Optimizer steps in one epoch.
        epochs: At most.
        correction: Of the training steps by finished runs, which is in all of the times above.
        advice: What would make more of a budget.
        curve: What is expected of the validations; None if nothing like it was run.
    """

    evidence: str
    assumptions: tuple[str, ...]
    execution: Execution
    picks: tuple[str, ...]
    total_s: Interval
    time_to_target_s: Interval | None
    chance_of_target: float | None
    time_to_end_s: Interval
    stages_s: Mapping[str, Interval]
    step_time_s: Interval
    step_by_kind: tuple[KindShare, ...]
    peak_memory_bytes: Interval
    memory_by_part: Mapping[str, float]
    parameters: int
    steps_per_epoch: int
    epochs: int
    correction: Correction | None = None
    advice: tuple[str, ...] = ()
    curve: Curve | None = None

    @property
    def uncorrected_step_s(self) -> float:
        """Median time of a step before the correction: what later ones are learned from."""
        return self.step_time_s.median / (self.correction.factor if self.correction else 1.0)

    @property
    def bound_by(self) -> str:
        """The kind of operation that takes most of a step."""
        return self.step_by_kind[0].kind

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` understands."""
        return {**dataclasses.asdict(self), "bound_by": self.bound_by}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Forecast:
        """Return the forecast that `to_json` described.

        Raises:
            InputError: Something is missing or of another kind.
        """
        try:
            return cls._from_plain(values)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(
                f"The forecast on disk cannot be read ({error}); it was made by another version, "
                "or is damaged. To train anew, give recipe.yaml, which lies beside it, to "
                "traintime train"
            ) from None

    @classmethod
    def _from_plain(cls, values: Mapping[str, Any]) -> Forecast:
        plain = {key: value for key, value in values.items() if key != "bound_by"}
        for key in ("total_s", "time_to_end_s", "step_time_s", "peak_memory_bytes"):
            plain[key] = Interval(**plain[key])
        target = plain["time_to_target_s"]
        plain["time_to_target_s"] = Interval(**target) if target else None
        plain["stages_s"] = {k: Interval(**v) for k, v in plain["stages_s"].items()}
        plain["step_by_kind"] = tuple(KindShare(**v) for v in plain["step_by_kind"])
        plain["execution"] = Execution(**plain["execution"])
        correction = plain.get("correction")  # earlier versions knew of none
        plain["correction"] = Correction(**correction) if correction else None
        plain["advice"] = tuple(plain.get("advice", ()))
        curve = plain.get("curve")
        plain["curve"] = Curve.from_json(curve) if curve else None
        plain["assumptions"], plain["picks"] = tuple(plain["assumptions"]), tuple(plain["picks"])
        return cls(**plain)


def mixture(parts: Sequence[tuple[float, Interval]], tail: float = 0.1) -> Interval:
    """Return the central interval, 80 %, of what follows one of several log-normal laws.

    Args:
        parts: Weights, which are normalised, and intervals of positive quantities.
        tail: Probability left out on each side; other than 0.1 where laws are known to be too wide
            or too narrow.
    """
    normal = NormalDist()
    total = sum(weight for weight, _ in parts)
    points: list[tuple[float, float]] = []
    for weight, interval in parts:
        if weight < NEGLIGIBLE * total:
            continue
        up = Interval.lognormal(interval.median, interval.sigma)
        for node in range(_NODES):
            z = normal.inv_cdf((node + 0.5) / _NODES)
            spread = (up.high / up.median) ** (z / _Z80)
            points.append((interval.median * spread, weight / total / _NODES))
    points.sort()
    return Interval(
        _quantile(points, 0.5),
        _quantile(points, tail),
        _quantile(points, 1 - tail),
    )


NEGLIGIBLE = 1e-6
_NODES = 81
_Z80 = NormalDist().inv_cdf(0.9)


def _quantile(points: Sequence[tuple[float, float]], share: float) -> float:
    reached = 0.0
    for value, weight in points:
        reached += weight
        if reached >= share - 1e-12:
            return value
    return points[-1][0]
