"""How the images of a folder come to a step: from memory, from the disk, or decoded anew.

Which it is changes no number of the training, so it is decided again wherever a run goes on.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from importlib.util import find_spec

from traintime.api.job import KnownJob
from traintime.data.input_plan import InputPlan, num_slots
from traintime.errors import InputError
from traintime.hardware.machine import Machine, detect_machine
from traintime.hardware.usage import memory_left
from traintime.ledger.paths import HOME_VARIABLE, cache_folder
from traintime.recipe.recipe import Cache
from traintime.units import format_bytes

COPIES = 2
"""Of the images in memory: in their parts, and in the order that the network wants them in."""
LEAST_SIDE = 8
GPU_SHARE = 0.5
"""Of a GPU's memory that images may take; the rest is for the training."""
AHEAD_SHARE = 0.25
"""Of the memory that is left, for batches that are gathered ahead."""
MOST_FROM_DISK = 4
"""Workers that gather for a GPU what is decoded already; more would wait for the disk."""


def with_input(job: KnownJob, device: str, *, resumed: bool = False) -> KnownJob:
    """Return a job with the way that its samples take.

    Args:
        job: What is trained.
        device: "cpu" or "cuda:N".
        resumed: Whether a run goes on: where there is no room for what was asked then, another way
            is taken.

    Raises:
        InputError: The images are to be kept where there is no room for them.
    """
    if job.facts.folder is None:
        return job
    asked, deciding = job.recipe.cache, _Deciding(job, device, detect_machine(cache_folder()))
    refusal = deciding.refusal(asked)
    if refusal and not resumed:
        raise InputError(refusal)
    return replace(job, input=deciding.plan("auto" if refusal else asked))


class _Deciding:
    """What a decision stands on: how much there is, and how much room."""

    def __init__(self, job: KnownJob, device: str, machine: Machine) -> None:
        self.job, self.device, self.machine = job, device, machine
        sizes = job.sizes
        held_out = sizes.test
        held_out += sizes.validation if job.recipe.validate_on == "validation" else 0
        self.held_out, self.count = held_out, sizes.train + held_out
        self.bytes = self.count * job.facts.sample_bytes
        self.memory_left = memory_left(os.getpid())[0]
        side = job.facts.shape[1]
        self.what = f"{self.count:,} images of {side}×{side} pixels"

    def refusal(self, asked: Cache) -> str:
        """Say why the images cannot be kept where they were asked to be; "" if they can."""
        if asked == "memory" and COPIES * self.bytes > self.memory_left:
            return self.refusal_of_memory()
        return self.refusal_of_disk() if asked == "disk" and not self.has_room_on_disk() else ""

    def plan(self, asked: Cache) -> InputPlan:
        recipe, short = self.job.recipe, self.short_memory()
        if asked == "memory" or (asked == "auto" and not short):
            needless = recipe.workers not in ("auto", 0)
            return InputPlan(said="no workers are needed: all images fit into memory" * needless)
        from_disk = asked == "disk" or (asked == "auto" and self.has_room_on_disk())
        workers = self.workers(from_disk=from_disk)
        how = "stay on the disk, decoded" if from_disk else "are decoded again for each batch"
        who = "one worker gathers" if workers == 1 else f"{workers} workers gather"
        why = short if asked == "auto" else f"cache={asked} was asked for"
        ahead = f"{who} batches ahead" if workers else "each batch is gathered when it is wanted"
        said = f"{why}: the images {how}, and {ahead}"
        return InputPlan("disk" if from_disk else "none", workers, said)

    def short_memory(self) -> str:
        """Say what the images do not fit into, if there is such a thing."""
        takes = f"{self.what} take"
        if COPIES * self.bytes > self.memory_left:
            needed, left = format_bytes(COPIES * self.bytes), format_bytes(self.memory_left)
            return f"{takes} {needed} of memory, and {left} are left"
        if self.device.startswith("cuda"):
            number = int(self.device.partition(":")[2] or 0)
            known = self.machine.gpus[number : number + 1]
            room = known[0].memory_bytes if known else 0
            if room and self.bytes > GPU_SHARE * room:
                return f"{takes} {format_bytes(self.bytes)} of the GPU's {format_bytes(room)}"
        return ""

    def has_room_on_disk(self) -> bool:
        if self.bytes <= self.machine.disk_free_bytes:
            return True
        if find_spec("numpy") is None or find_spec("PIL") is None:
            return False
        from traintime.data.image_cache import forget_unfinished
        from traintime.data.own_images import used_images

        used = used_images(self.job.recipe, self.job.facts)
        forget_unfinished(used.key)
        return used.is_kept or self.bytes <= detect_machine(cache_folder()).disk_free_bytes

    def workers(self, *, from_disk: bool) -> int:
        """Return how many processes gather: as many as the recipe says, or can be of use."""
        recipe = self.job.recipe
        if recipe.workers != "auto":
            return int(recipe.workers)
        # Gathering takes little; decoding takes all that the processor has to give.
        most = self.machine.cores
        if from_disk:
            most = min(most, MOST_FROM_DISK) if self.device.startswith("cuda") else 1
        batch_bytes = recipe.batch_size * self.job.facts.sample_bytes
        room = AHEAD_SHARE * self.memory_left / batch_bytes
        return max([1, *(number for number in range(1, most + 1) if num_slots(number) <= room)])

    def refusal_of_memory(self) -> str:
        job, left = self.job, self.memory_left
        side, needed = job.facts.shape[1], COPIES * self.bytes
        ways: list[str] = []
        smaller = int(side * math.sqrt(left / needed)) // LEAST_SIDE * LEAST_SIDE
        if smaller >= LEAST_SIDE:
            ways.append(f"image_size={smaller}")
        fewer = int(left / (COPIES * job.facts.sample_bytes)) - self.held_out
        if fewer >= job.recipe.batch_size:
            ways.append(f"train_samples={fewer}")
        return (
            f"{self.what} take {format_bytes(needed)} of memory, and {format_bytes(left)} are "
            "left. Without cache=memory they are gathered from the disk while it trains. "
            f"Type {' or '.join(ways) or 'data= of fewer images'}"
        )

    def refusal_of_disk(self) -> str:
        free = self.machine.disk_free_bytes
        return (
            f"{self.what} take {format_bytes(self.bytes)} on the disk, and "
            f"{format_bytes(self.bytes - free)} of that are missing in '{cache_folder()}'. Free "
            f"some, let {HOME_VARIABLE} name a folder of a larger disk, or type cache=none, which "
            "decodes them again for each batch"
        )
