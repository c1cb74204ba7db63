"""What would make a job fit that does not, each tried: what changes the training least comes first.

Dividing micro-batches, dividing the model over its devices and computing again change no result;
more devices cost more; weights in 16 bits and smaller batches train otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from traintime.forecast.asked_job import DeviceJob, SizedModel
from traintime.forecast.device_memory import SURE_ENOUGH, MemoryUse, Room, chance_it_fits
from traintime.forecast.sharded import computed_in
from traintime.hardware.devices import DeviceCount

MOST_PARTS, MOST_DEVICES = 4096, 64
MOST_TOGETHER = 2
"""Sets of changes that are told where none does alone."""


def _doublings(most: int) -> tuple[int, ...]:
    return tuple(2**power for power in range(1, most.bit_length()))


@dataclass(frozen=True)
class Change:
    """A job with something changed.

    Args:
        words: As they are typed.
        use: Of one device then.
        accumulate: Micro-batches of a step then.
    """

    words: tuple[str, ...]
    use: MemoryUse
    accumulate: int

    @property
    def parts(self) -> int:
        """Into which a batch is split over devices and micro-batches."""
        return self.accumulate * self.use.num_devices

    def with_word(self, word: str, use: MemoryUse) -> Change:
        """Return it with one word more."""
        return replace(self, words=(*self.words, word), use=use)


def remedies(
    job: DeviceJob, model: SizedModel, use: MemoryUse, device: DeviceCount, room: Room
) -> list[str]:
    """Return the least change of each kind with which nine chances in ten are reached.

    Args:
        job: What is asked.
        model: For its graph in another precision.
        use: Of one device.
        device: How many of what.
        room: What came out.
    """
    asked = Change((), use, job.accumulate)
    of_asked = math.ceil(job.batch_size / asked.parts)

    def fits(change: Change) -> bool:
        if change.parts > job.batch_size:
            return False
        samples, use = math.ceil(job.batch_size / change.parts), change.use
        computed = computed_in(use.precision, use.sharding, use.num_devices)
        # Sized for what was asked, since the graph is all that is needed of it.
        peak = replace(use, graph=model(computed, of_asked).graph).peak(samples)
        capacity = room.capacity_bytes or math.inf
        return chance_it_fits(peak, capacity, use.sigma) >= SURE_ENOUGH

    alike = _that_fit(_alone(asked), fits) or _that_fit(_together(asked), fits)[:MOST_TOGETHER]
    more = (one for one in _more_devices(asked, device) if len(one.words) == 1 or not alike)
    found = [*alike, *_that_fit(more, fits)[:1]]
    found += _that_fit(_in_half(asked), fits)
    if not found:
        both = [change for one in _in_half(asked) for change in (*_alone(one), *_together(one))]
        found = _that_fit(iter(both), fits)[:MOST_TOGETHER]
    words = [" ".join(change.words) for change in found]
    return [*words, *([f"batch_size={room.largest_batch_size}"] if room.largest_batch_size else [])]


def _that_fit(changes: Iterator[Change], fits: Callable[[Change], bool]) -> list[Change]:
    """Return the first of each kind that fits; changes are of a kind if their words' keys are."""
    found: dict[tuple[str, ...], Change] = {}
    for change in changes:
        kind = tuple(word.partition("=")[0] for word in change.words)
        if kind not in found and fits(change):
            found[kind] = change
    return list(found.values())


def _alone(asked: Change) -> Iterator[Change]:
    """Return changes of one word that leave the result as it is."""
    yield from _split(asked)
    yield from _sharded(asked)
    yield from _recomputing(asked)


def _together(asked: Change) -> Iterator[Change]:
    """Return changes of two and three such words."""
    sharded = [change for change in _sharded(asked) if change.use.sharding == "full"]
    both = [change for one in sharded for change in _recomputing(one)]
    yield from both
    for change in (*sharded, *_recomputing(asked), *both):
        yield from _split(change)


def _split(asked: Change) -> Iterator[Change]:
    use = replace(asked.use, accumulates=True)
    for times in _doublings(MOST_PARTS):
        count = asked.accumulate * times
        yield replace(asked.with_word(f"accumulate={count}", use), accumulate=count)


def _sharded(asked: Change) -> Iterator[Change]:
    if asked.use.num_devices > 1 and asked.use.sharding == "none":
        yield asked.with_word("sharding=optimizer", replace(asked.use, sharding="optimizer"))
    if asked.use.num_devices > 1 and asked.use.sharding != "full":
        yield asked.with_word("sharding=full", replace(asked.use, sharding="full"))


def _recomputing(asked: Change) -> Iterator[Change]:
    if asked.use.graph.blocks and not asked.use.recompute:
        yield asked.with_word("recompute=true", replace(asked.use, recompute=True))


def _more_devices(asked: Change, device: DeviceCount) -> Iterator[Change]:
    """Return ever more devices, each number as it is, dividing the model, and computing again."""
    if not device.spec.interconnect_bytes_per_s:
        return
    for times in _doublings(MOST_DEVICES):
        count = device.count * times
        word = f"device={device.spec.key}x{count}"
        more = asked.with_word(word, replace(asked.use, num_devices=count))
        sharded = [change for change in _sharded(more) if change.use.sharding == "full"]
        for change in (more, *sharded):
            yield change
            yield from _recomputing(change)


def _in_half(asked: Change) -> Iterator[Change]:
    if asked.use.precision != "half" and asked.use.spec.half_flops:
        yield asked.with_word("precision=half", replace(asked.use, precision="half"))
