import dataclasses
import math

import pytest

from traintime.forecast import device_memory, heap_peak
from traintime.forecast.device_memory import (
    CPU_HELD_SHARE,
    CPU_MEMORY_SIGMA,
    HEAP_SIGMA,
    HELD_SHARE,
    MEMORY_SIGMA,
    MemoryUse,
    capacity_bytes,
    chance_it_fits,
    context_bytes,
    find_room,
    largest_fitting,
    peak_interval,
)
from traintime.forecast.device_step import DevicePrecision
from traintime.hardware.devices import find_device
from traintime.units import GIB, MIB
from traintime.workload.kernels import Amount

from .synthetic_device import blocks, card, each_sample, graph


def use(**changes) -> MemoryUse:
    plain = MemoryUse(
        graph=graph(),
        size=1.0,
        sample_bytes=12_288.0,
        precision="amp",
        optimizer="sgd",
        accumulates=False,
        num_devices=1,
        spec=card(),
    )
    return dataclasses.replace(plain, **changes)


def test_a_peak_in_the_backward_is_told_by_part():
    parts = use().by_part(100)
    # the graph: 100 MB kept and 154 MB at the peak, of which 4 MB are gradients
    assert parts["weights"] == parts["gradients"] == parts["optimizer"] == 4e6
    assert parts["buffers"] == 1_000
    assert parts["input"] == 1_228_800
    assert parts["activations"] == 100e6
    tensors = 3 * 4e6 + 1_000 + 1_228_800 + 100e6 + 50e6
    assert parts["workspace"] == pytest.approx(50e6 + HELD_SHARE * tensors)
    assert parts["context"] == 0.5 * GIB + 0.0125 * 8 * GIB
    assert sum(parts.values()) == pytest.approx(tensors * (1 + HELD_SHARE) + parts["context"])


def test_a_peak_in_the_update_holds_as_much_again_as_the_weights():
    tiny = graph(kept_bytes=each_sample(10.0), peak_bytes=Amount((4e6,), (10.0,)))
    parts = use(graph=tiny, sample_bytes=0.0).by_part(1)
    assert parts["activations"] == 10
    tensors = parts["weights"] + parts["optimizer"] + parts["buffers"] + 2 * 4e6
    assert sum(parts.values()) - parts["context"] == pytest.approx(tensors * (1 + HELD_SHARE))


def test_gradients_that_accumulate_stay_beside_all_activations():
    flat = graph(peak_bytes=each_sample(1e6))
    alone, accumulating = use(graph=flat), use(graph=flat, accumulates=True)
    more = accumulating.peak(100) - alone.peak(100)
    assert more == pytest.approx(4e6 * (1 + HELD_SHARE))


def test_a_captured_peak_below_what_is_kept_is_not_believed():
    bent = graph(peak_bytes=Amount((0.0, 0.0, 0.0), (-1e6, 0.0, 0.0)))
    assert use(graph=bent).by_part(100)["activations"] == pytest.approx(100e6 - 4e6)


def test_several_devices_keep_gradients_twice():
    assert use(num_devices=2).by_part(1)["gradients"] == 8e6


@pytest.mark.parametrize(
    ("optimizer", "slots"), [("sgd", 1), ("adam", 2), ("adamw", 2), ("muon", 1)]
)
def test_optimizers_keep_slots(optimizer: str, slots: int):
    assert use(optimizer=optimizer).by_part(1)["optimizer"] == slots * 4e6


def test_half_halves_all_that_is_computed():
    full, half = use().by_part(100), use(precision="half").by_part(100)
    for part in ("weights", "gradients", "optimizer", "buffers", "activations"):
        assert half[part] == full[part] / 2
    assert half["context"] == full["context"]


def test_input_size_scales_what_is_kept():
    linear = Amount((0.0, 0.0, 0.0), (0.0, 1e6, 0.0))
    sized = graph(kept_bytes=linear, peak_bytes=Amount((4e6, 0.0, 0.0), (0.0, 1e6, 0.0)))
    assert use(graph=sized, size=4.0).by_part(100)["activations"] == pytest.approx(400e6)


def test_a_processor_has_a_process_and_no_context():
    assert context_bytes(card(kind="cpu")) == 330 * MIB
    assert capacity_bytes(find_device("cpu-epyc-7763")) is None
    assert capacity_bytes(card(kind="cpu", confidence="user")) == 8 * GIB
    assert capacity_bytes(card(memory_bytes=None)) is None


def test_a_peak_at_the_capacity_fits_at_even_odds():
    assert chance_it_fits(8e9, 8e9) == pytest.approx(0.5)
    assert chance_it_fits(8e9, 8e9 * math.exp(MEMORY_SIGMA)) == pytest.approx(0.8413, abs=1e-4)
    assert chance_it_fits(80e9, 8e9) == pytest.approx(0.0, abs=1e-9)


def test_the_interval_is_as_wide_as_the_fit_was_off():
    assert peak_interval(1e9).sigma == pytest.approx(MEMORY_SIGMA)


@pytest.mark.parametrize("samples", [1, 2, 3, 64, 1000, 1001])
def test_the_largest_that_fits_is_found_exactly(samples: int):
    sure = math.exp(1.2815515 * MEMORY_SIGMA)
    capacity = samples * 1e6 * sure * (1 + 1e-6)
    assert largest_fitting(lambda count: count * 1e6, capacity) == samples


def test_nothing_fits_where_the_weights_do_not():
    assert largest_fitting(lambda count: 1e9 + count, 1e8) == 0


def test_room_counts_all_devices_and_micro_batches():
    room, alone = find_room(use(), 100, 8), find_room(use(), 100, 1)
    assert room.largest_batch_size == 8 * (alone.largest_batch_size or 0) > 0
    assert room.chance == pytest.approx(1.0)
    assert room.capacity_bytes == 8 * GIB
    assert room.peak_bytes == pytest.approx(use().peak(100))


def test_room_without_a_capacity_is_not_judged():
    room = find_room(use(spec=card(memory_bytes=None)), 100, 1)
    assert (room.capacity_bytes, room.chance, room.largest_batch_size) == (None, None, None)


# The heap of a CPU


@pytest.fixture
def heap(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Play 10 MB and 2 MB a sample in place of a heap; return what was asked of it."""
    asked: list[tuple[int, int]] = []

    def played(_graph, batch_size: int, num_slots: int) -> int:
        asked.append((batch_size, num_slots))
        return 10_000_000 + 2_000_000 * batch_size

    monkeypatch.setattr(device_memory, "captured_heap_peak", played)
    return asked


def on_cpu(**changes) -> MemoryUse:
    return use(spec=card(kind="cpu", confidence="user"), **changes)


def test_where_a_heap_is_played_its_peak_is_expected_beside_the_process(heap):
    played = on_cpu().with_heap(100)
    assert played.peak(100) == pytest.approx(210e6 + 330 * MIB)
    assert (played.sigma, on_cpu().sigma) == (HEAP_SIGMA, CPU_MEMORY_SIGMA)
    assert heap == [(100, 1)]


def test_the_share_at_one_batch_stands_for_others_without_another_play(heap):
    played = on_cpu().with_heap(100)
    context = context_bytes(played.spec)
    share = 210e6 / played.tensors(100)
    for samples in (1, 50, 1000):
        assert played.peak(samples) - context == pytest.approx(share * played.tensors(samples))
    room = find_room(played, 100, 1)
    assert (room.largest_batch_size or 0) > (find_room(on_cpu(), 100, 1).largest_batch_size or 0)
    assert room.chance == chance_it_fits(played.peak(100), 8 * GIB, HEAP_SIGMA)
    assert len(heap) == 1


def test_gradients_that_accumulate_are_held_at_the_share_of_one_micro_batch(heap):
    flat = graph(peak_bytes=each_sample(1e6))
    once, whole = on_cpu(graph=flat), on_cpu(graph=flat, accumulates=True)
    share = 210e6 / once.tensors(100)
    more = whole.with_heap(100).peak(100) - once.with_heap(100).peak(100)
    assert more == pytest.approx(4e6 * share)


@pytest.mark.parametrize("peak_bytes", [1, 150e6, 180e6, 500e6])
def test_parts_of_a_heap_are_never_negative_and_make_up_its_peak(monkeypatch, peak_bytes: float):
    monkeypatch.setattr(device_memory, "captured_heap_peak", lambda *_: peak_bytes)
    played = on_cpu().with_heap(100)
    for samples in (1, 100, 10_000):
        parts = played.by_part(samples)
        assert min(parts.values()) >= 0
        assert sum(parts.values()) == pytest.approx(played.peak(samples))
    parts = played.by_part(100)
    stands = sum(parts[name] for name in ("weights", "gradients", "optimizer", "buffers", "input"))
    assert played.peak(100) - parts["context"] == pytest.approx(max(peak_bytes, stands))


@pytest.mark.parametrize(
    "changes", [{"spec": card()}, {"size": 4.0}, {"precision": "half"}], ids=str
)
def test_a_heap_is_not_played_of_what_was_not_captured_for_it(heap, changes):
    other = dataclasses.replace(on_cpu(), **changes)
    assert other.with_heap(100) == other
    assert heap == []


def test_a_heap_larger_than_any_machine_is_not_played(heap):
    assert on_cpu().with_heap(2**30).heap_share is None
    assert heap == []


def test_a_cpu_whose_heap_is_unknown_holds_the_same_share_as_ever():
    shipped = on_cpu().with_heap(100)
    assert shipped == on_cpu()
    tensors = 3 * 4e6 + 1_000 + 1_228_800 + 150e6
    assert shipped.peak(100) == pytest.approx((1 + CPU_HELD_SHARE) * tensors + 330 * MIB)


def test_the_heap_of_a_captured_network_is_played(monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    from traintime.workload.capture import graph_of
    from traintime.workload.own_module import from_module

    monkeypatch.setattr(heap_peak, "is_glibc", lambda: True)
    network = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.Linear(1024, 10))
    captured = graph_of(from_module(network, torch.zeros(1, 256)), target="cpu")
    asked = on_cpu(graph=captured, precision="fp32", sample_bytes=1024.0)
    peaks = [asked.with_heap(samples).peak(samples) for samples in (64, 1024, 16_384)]
    assert peaks == sorted(peaks)
    # weights, momentum, gradients, input and hidden values; a gradient of these is alive beside
    values = 3 * captured.parameters + 16_384 * (256 + 1024)
    assert 4 * values < peaks[-1] - 330 * MIB < 3 * 4 * values


# Devices that divide a model, and blocks that compute again


MIXED: tuple[DevicePrecision, ...] = ("fp32", "amp", "half")


def divided(sharding, count: int = 4, **changes) -> MemoryUse:
    return use(num_devices=count, sharding=sharding, optimizer="adamw", **changes)


def test_the_optimizers_values_are_divided():
    whole, parts = (divided(sharding).by_part(100) for sharding in ("none", "optimizer"))
    assert parts["optimizer"] == whole["optimizer"] / 4 == 2e6
    assert parts["weights"] == whole["weights"] == 4e6
    assert parts["gradients"] == whole["gradients"] == 8e6, "with the buckets that they are sent in"


def test_all_is_divided_and_layers_are_gathered():
    parts = divided("full", graph=graph(blocks=blocks())).by_part(100)
    assert parts["weights"] == parts["gradients"] == 1e6
    assert parts["optimizer"] == 2e6
    # in 16 bits: twice what is outside of blocks, and thrice the largest block
    assert parts["gathered layers"] == 2 * (2 * 200_000 + 3 * 80_000)
    without = divided("full").by_part(100)
    assert without["gathered layers"] == 2 * 2 * 1_000_000, "all at once where none are known"
    assert "gathered layers" not in divided("optimizer").by_part(100)


def test_what_does_not_grow_with_the_batch_is_counted_as_gathered():
    copied = graph(kept_bytes=Amount((2e6,), (1e6,)), peak_bytes=Amount((6e6,), (1.5e6,)))
    kept = {
        sharding: divided(sharding, graph=copied, precision="fp32").by_part(100)["activations"]
        for sharding in ("none", "full")
    }
    assert kept == pytest.approx({"none": 102e6, "full": 100e6})


def test_mixed_precision_of_gathered_blocks_computes_in_16_bits_and_keeps_32():
    parts = {precision: divided("full", precision=precision).by_part(100) for precision in MIXED}
    assert parts["amp"]["activations"] == parts["fp32"]["activations"] / 2
    for part in ("weights", "gradients", "optimizer"):
        assert parts["amp"][part] == parts["fp32"][part] == 2 * parts["half"][part]


@pytest.mark.parametrize("sharding", ["optimizer", "full"])
def test_one_device_has_nothing_to_divide(sharding):
    alone = divided(sharding, count=1, graph=graph(blocks=blocks()))
    assert alone.peak(100) == divided("none", count=1).peak(100)


def test_the_more_devices_the_less_each_holds():
    peaks = [divided("full", count).peak(100) for count in (2, 4, 8, 64)]
    assert peaks == sorted(peaks, reverse=True)


def test_blocks_that_compute_again_keep_their_inputs_alone():
    chained = graph(blocks=blocks())
    again = use(graph=chained, recompute=True).by_part(100)
    # of 1 MB a sample 0.9 are in blocks, whose inputs are 0.1
    assert again["activations"] == pytest.approx(100e6 - 90e6 + 10e6)
    # at the loss half a MB a sample is alive beside, and 4 MB of gradients
    tensors = 2 * 4e6 + 1_000 + 1_228_800 + 20e6 + 50e6 + 4e6
    assert sum(again.values()) - again["context"] == pytest.approx(tensors * (1 + HELD_SHARE))


def test_the_block_that_computes_again_is_alive_as_a_whole():
    flat = graph(blocks=blocks(), peak_bytes=each_sample(1e6))
    parts = use(graph=flat, recompute=True).by_part(100)
    # 20 MB of inputs and of what is outside; 12 MB and its copies of weights in the block
    tensors = 2 * 4e6 + 1_000 + 1_228_800 + 20e6 + 12e6 + 1.6e5
    assert sum(parts.values()) - parts["context"] == pytest.approx(tensors * (1 + HELD_SHARE))


def test_a_heap_is_not_played_of_blocks_that_compute_again(heap):
    again = on_cpu(graph=graph(blocks=blocks()), recompute=True)
    assert again.with_heap(100) == again
    assert heap == []
