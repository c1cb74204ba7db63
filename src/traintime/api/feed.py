"""Where the batches of a run come from in this process: from memory, or from a gatherer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from traintime.api.job import KnownJob
from traintime.data.augment import make_augmentation
from traintime.data.prepare import AnySamples, PreparedParts, StoredSamples
from traintime.data.resident import OrderedBatches, ResidentBatches, in_order
from traintime.data.shuffled import ShuffledBatches
from traintime.data.streamed import Streamed, StreamedBatches, StreamedInOrder
from traintime.forecast.predict import VALIDATION_BATCH
from traintime.hardware.execution import Execution
from traintime.recipe import Recipe

if TYPE_CHECKING:  # it needs PIL, and other data do not
    from traintime.data.gather import Gatherer, StandIn, Tell, Waiting

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Feed:
    """Makes the batches of a run, to train on and to judge by.

    Args:
        prepared: The parts of the data set.
        recipe: With the batch size, the augmentation and the seed.
        execution: Says on which device and in which form images are wanted.
        gatherer: Gathers batches of samples that are not in memory; None if all are.
    """

    def __init__(
        self,
        prepared: PreparedParts,
        recipe: Recipe,
        execution: Execution,
        gatherer: Gatherer | None = None,
    ) -> None:
        self._prepared, self._recipe, self._gatherer = prepared, recipe, gatherer
        self._placed = (
            execution.device,
            prepared.mean,
            prepared.std,
            DTYPES[execution.precision],
            MEMORY_FORMATS[execution.memory_format],
        )

    @property
    def train_samples(self) -> int:
        """Samples of the training part."""
        return len(self._prepared.train)

    def worker_pids(self) -> list[int]:
        """Return the processes that gather batches."""
        return self._gatherer.pids() if self._gatherer else []

    def training(self) -> ShuffledBatches:
        """Return the batches that a run trains on, on its device."""
        recipe, train = self._recipe, self._prepared.train
        augmentation = make_augmentation(recipe)
        if not isinstance(train, StoredSamples):
            return ResidentBatches(
                train, recipe.batch_size, *self._placed, augmentation, recipe.seed
            )
        return StreamedBatches(self._streamed(train), recipe.batch_size, augmentation, recipe.seed)

    def in_order(self, samples: AnySamples) -> OrderedBatches | StreamedInOrder:
        """Return samples as they are, to judge by."""
        if not isinstance(samples, StoredSamples):
            return in_order(samples, VALIDATION_BATCH, *self._placed)
        return StreamedInOrder(self._streamed(samples), VALIDATION_BATCH, self._recipe.batch_size)

    def _streamed(self, samples: StoredSamples) -> Streamed:
        assert self._gatherer
        return Streamed(samples, self._gatherer, *self._placed)

    def close(self) -> None:
        """End what works on batches."""
        if self._gatherer:
            self._gatherer.close()


def open_feed(
    job: KnownJob,
    prepared: PreparedParts,
    execution: Execution,
    *,
    tell: Tell,
    stand_in: Callable[[Tell], StandIn],
    waiting: Waiting,
) -> Feed:
    """Return the feed of a run.

    Args:
        job: Says how its samples come to a step.
        prepared: The parts of its data set.
        execution: How it is computed.
        tell: Told of faults that were survived.
        stand_in: Returns what decides about images that cannot be read, where they are not in
            memory; given `tell`.
        waiting: Entered while a batch is waited for.
    """
    recipe, train = job.recipe, prepared.train
    if not isinstance(train, StoredSamples):
        return Feed(prepared, recipe, execution)
    from traintime.data.gather import GatherHere
    from traintime.data.gather_ahead import GatherAhead

    workers, asked = job.input.workers, (tell, stand_in(tell), waiting)
    if workers:
        gatherer = GatherAhead(train.store, recipe.batch_size, workers, *asked)
    else:
        gatherer = GatherHere(train.store, *asked)
    return Feed(prepared, recipe, execution, gatherer)
