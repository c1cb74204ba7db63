import pytest

from traintime.forecast.device_job import forecast_on_device
from traintime.forecast.device_memory import SURE_ENOUGH
from traintime.hardware.devices import DeviceCount
from traintime.units import GIB
from traintime.workload.kernels import Amount

from .synthetic_device import blocks, card, each_sample, graph, in_layers, job, model, parameters

SAMPLE_BYTES = 1e9


def large(weights: int = 1_000_000, kept: float = SAMPLE_BYTES, in_blocks: float = 0.9):
    """A model that keeps so much of each sample, most of it in blocks."""
    captured = in_layers(graph())
    held = blocks(
        largest=weights // 20,
        parameters=weights // 2,
        kept_bytes=each_sample(in_blocks * kept),
        passed_bytes=each_sample(0.01 * kept),
        most_bytes=each_sample(0.1 * kept),
    )
    return graph(
        kernels=captured.kernels,
        blocks=held,
        parameters=weights,
        kept_bytes=each_sample(kept),
        peak_bytes=Amount((4.0 * weights,), (kept,)),
    )


def answer(captured, count: int = 1, memory_gib: float = 8, **changes):
    law = parameters()
    device = DeviceCount(card(memory_bytes=memory_gib * GIB), count)
    asked = job(optimizer="adamw", **changes)
    return forecast_on_device(asked, model(captured, law), device, law)


def advised(captured, **changes) -> list[str]:
    line = answer(captured, **changes).assumptions[0]
    return line.partition("It would fit with ")[2].split(", or ")


def as_typed(words: str) -> dict[str, object]:
    """Return what `answer` is given for words such as "sharding=full accumulate=2"."""
    given: dict[str, object] = {}
    for word in words.split():
        key, _, value = word.partition("=")
        if key == "device":
            given["count"] = int(value.removeprefix("cardx"))
        else:
            given[key] = {"true": True}.get(value, int(value) if value.isdigit() else value)
    return given


CASES = {
    "activations": (large(), {"batch_size": 10}),
    "many micro-batches": (large(), {"batch_size": 64, "count": 2}),
    "weights": (large(600_000_000, kept=1e6), {"batch_size": 16, "count": 4}),
    "both": (large(900_000_000), {"batch_size": 64, "count": 8, "memory_gib": 7}),
    "too few devices": (large(2_000_000_000), {"batch_size": 64}),
    "a batch of thousands": (large(), {"batch_size": 1000}),
    "16 bits and more": (large(900_000_000), {"batch_size": 64, "memory_gib": 12}),
}


@pytest.mark.parametrize("case", CASES)
def test_all_that_is_advised_does_fit(case: str):
    captured, asked = CASES[case]
    assert (answer(captured, **asked).chance_it_fits or 0) < SURE_ENOUGH
    found = advised(captured, **asked)
    assert found
    for words in found:
        assert (answer(captured, **{**asked, **as_typed(words)}).chance_it_fits or 0) >= SURE_ENOUGH


def test_what_changes_the_training_least_comes_first():
    assert advised(large(), batch_size=10) == [
        "accumulate=2",
        "recompute=true",
        "device=cardx2",
        "precision=half",
        "batch_size=6",
    ]


def test_devices_that_each_hold_all_weights_are_told_to_divide_them():
    less, more = large(300_000_000, kept=1e6), large(600_000_000, kept=1e6)
    assert advised(less, batch_size=16, count=4)[0] == "sharding=optimizer"
    assert advised(more, batch_size=16, count=4)[0] == "sharding=full"


def test_where_one_change_does_not_do_two_are_tried():
    # activations of 8 samples, and weights with gradients and Adam's values: neither fits alone
    found = advised(large(900_000_000), batch_size=64, count=8, memory_gib=7)
    assert found[0] == "sharding=full recompute=true"


def test_a_single_device_is_told_how_many_would_do():
    found = advised(large(2_000_000_000, kept=1e8), batch_size=64)
    assert found == ["device=cardx32 sharding=full"]


def test_where_nothing_helps_that_is_said():
    line = answer(large(200_000_000_000), batch_size=1).assumptions[0]
    assert line.endswith("the model is too large for so few of them")
