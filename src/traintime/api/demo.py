"""The demo verb: the whole product in small, on real data."""

from __future__ import annotations

from typing import Any

from traintime.api.listener import Listener
from traintime.api.train import TrainResult, require_torch, train
from traintime.data.catalogue import DATA_SETS
from traintime.errors import DataUnavailableError

DEMO = {"data": "mnist", "model": "lenet", "target": "accuracy:0.99"}
WITHOUT_NETWORK = {"data": "digits", "model": "lenet", "target": "accuracy:0.95"}


def demo(*, listener: Listener | None = None) -> TrainResult:
    """Measure this machine, forecast LeNet on MNIST to 99 %, train it, and compare.

    Without any network the handwritten digits that come with this package take MNIST's place.
    """
    require_torch()
    listener = listener or Listener()
    fields: dict[str, Any] = DEMO if _mnist_can_be_had(listener) else WITHOUT_NETWORK
    return train(listener=listener, **fields)


def _mnist_can_be_had(listener: Listener) -> bool:
    from traintime.data.fetch import check_cached, load_raw

    if check_cached("mnist"):
        return True
    try:
        load_raw("mnist", listener.say)
    except DataUnavailableError:
        digits = DATA_SETS["digits"]
        listener.say(
            "MNIST cannot be fetched without a network: going on with the "
            f"{digits.train_samples:,} {digits.title} that come with this package"
        )
        return False
    return True
