"""The small jobs of `jobs`, with images in colour that are in memory or gathered from the disk."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from traintime.api.feed import Feed
from traintime.architecture import network_for
from traintime.data.catalogue import find
from traintime.data.fetch import RawImages
from traintime.data.gather import Gatherer, GatherHere
from traintime.data.gather_ahead import GatherAhead
from traintime.data.image_cache import facts_of
from traintime.data.image_store import FACTS, ImageStore, KnownImages
from traintime.data.prepare import StoredSamples, prepare
from traintime.evaluate.predict import predict
from traintime.hardware.execution import Execution
from traintime.models.build import build
from traintime.train.job import Job
from traintime.train.records import Validation

from .jobs import digits, make_job, recipe_of

IN_MEMORY = None
FACTS_OF_DIGITS = replace(find("digits"), shape=(3, 8, 8))


def coloured_digits() -> RawImages:
    raw = digits()
    return replace(raw, images=np.repeat(np.asarray(raw.images), 3, axis=3))


def stored_digits(folder: Path) -> RawImages:
    """Put the digits into a file, as a cache on the disk holds images of a folder."""
    images = np.asarray(coloured_digits().images)
    array = folder / "images.bin"
    array.parent.mkdir(parents=True, exist_ok=True)
    images.tofile(array)
    facts = np.frombuffer(b"".join(map(facts_of, images)), FACTS).copy()
    names = tuple(f"{row}.png" for row in range(len(images)))
    store = ImageStore(folder, names, 8, KnownImages(facts, {}, array, "none"))
    return replace(digits(), images=store)


@contextmanager
def stored_job(folder: Path, workers: int | None, **fields: Any) -> Generator[Job]:
    """Yield the job of a recipe, with images in memory or gathered by so many workers."""
    recipe = recipe_of(**fields)
    raw = coloured_digits() if workers is IN_MEMORY else stored_digits(folder)
    prepared = prepare(raw, recipe, FACTS_OF_DIGITS)
    like = make_job(folder, **fields)
    feed = Feed(prepared, recipe, like.execution, _gatherer(prepared.train, recipe, workers))

    def draw() -> nn.Module:
        torch.manual_seed(recipe.seed)
        network = network_for(recipe, FACTS_OF_DIGITS.shape, FACTS_OF_DIGITS.num_classes)
        return build(network).to(like.execution.device)

    held_out = feed.in_order(prepared.validation)
    try:
        yield replace(
            like,
            module=draw(),
            batches=feed.training(),
            validate=_judge(held_out, like.execution),
            draw_again=draw,
        )
    finally:
        feed.close()


def _gatherer(train: Any, recipe: Any, workers: int | None) -> Gatherer | None:
    if not isinstance(train, StoredSamples):
        return None
    asked = (_fail, _fail, nullcontext)
    if not workers:
        return GatherHere(train.store, *asked)
    return GatherAhead(train.store, recipe.batch_size, workers, *asked)


def _fail(*what: object) -> Any:
    pytest.fail(str(what))


def _judge(held_out: Any, execution: Execution) -> Callable[[nn.Module, int], Validation]:
    def judge(module: nn.Module, batch: int) -> Validation:
        found = predict(module, held_out.in_batches_of(batch), execution)
        return Validation(found.loss, found.accuracy, len(found.labels), found.loss_deviation)

    return judge
