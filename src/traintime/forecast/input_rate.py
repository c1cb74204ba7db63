"""How fast samples come to a step where they are not in memory, and what that does to its time.

Workers gather the next batches while a step computes, so a step takes the longer of the two. On a
CPU both share its cores, and what the workers compute is taken from the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from traintime.data.input_plan import InputPlan, num_slots
from traintime.forecast.step_time import OpTime, StepTime
from traintime.units import format_duration
from traintime.workload.op_graph import Op

GATHER_S, GATHERED_BYTES_PER_S = 5e-6, 3e9
"""Of one core, for an image that is decoded already and for its bytes: reading, checking and asking
for it. Measured on 2026-11-20 on one core of an AMD EPYC, from the page cache: images of 8 to 224
pixels in 2.5 to 50 µs; half of the constant is what asks."""


@dataclass(frozen=True)
class InputRate:
    """How fast samples come.

    Args:
        plan: How they do.
        core_s: Seconds of a core for one sample.
        disk_s: Seconds of the disk for one sample, whoever asks.
        cores: Of the processor.
        shares_cores: Whether the steps are computed on them too.
    """

    plan: InputPlan
    core_s: float
    disk_s: float
    cores: int
    shares_cores: bool

    def gathering_s(self, samples: int) -> float:
        """Return the seconds in which so many samples are gathered, if nothing else goes on."""
        workers = max(1, min(self.plan.workers, self.cores))
        return samples * max(self.core_s / workers, self.disk_s)

    def together_s(self, compute_s: float, samples: int) -> float:
        """Return the seconds of computing on so many samples while the next ones are gathered."""
        gathering_s = self.gathering_s(samples)
        if not self.plan.workers:
            return compute_s + gathering_s
        taken_s = samples * self.core_s / self.cores if self.shares_cores else 0.0
        return max(compute_s + taken_s, gathering_s)

    def fed(self, step: StepTime, batch_size: int) -> StepTime:
        """Return a step with the time that it waits for its batch."""
        wait_s = self.together_s(step.seconds, batch_size) - step.seconds
        waiting = Op("waiting for the batch", "input", launches=0)
        return StepTime((*step.parts, OpTime(waiting, wait_s, 0.0)))

    def held_bytes(self, batch_size: int, sample_bytes: int) -> int:
        """Return the bytes of the batches that are there at once."""
        return num_slots(self.plan.workers) * batch_size * sample_bytes

    def said(self, compute_s: float, batch_size: int) -> Iterator[str]:
        """Yield what a forecast stands on, for people.

        Args:
            compute_s: Of a step that waits for nothing.
            batch_size: Of it.
        """
        yield self.plan.said
        gathering_s = self.gathering_s(batch_size)
        if gathering_s > compute_s:
            is_disk = self.disk_s * batch_size == gathering_s
            can_have_more = self.plan.workers < self.cores and not is_disk
            more = " More workers= would help." if can_have_more else ""
            cached = " So would cache=disk." if self.plan.cache == "none" else ""
            yield (
                f"the input pipeline limits a step: its batch takes {format_duration(gathering_s)} "
                f"to gather, computing {format_duration(compute_s)}.{more}{cached}"
            )


def gathered_core_s(sample_bytes: int) -> float:
    """Return the seconds of a core for one sample that is decoded already."""
    return GATHER_S + sample_bytes / GATHERED_BYTES_PER_S
