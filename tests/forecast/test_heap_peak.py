import dataclasses

import pytest

from traintime.forecast import heap_peak as heap_peak_module
from traintime.forecast.heap_peak import LIBRARIES_BYTES, captured_heap_peak, heap_peak
from traintime.workload.step_blocks import Event, Trace, Traces

from .synthetic_device import graph


def step(batch_size: int) -> Trace:
    """A result, what is needed meanwhile, and the gradient of a weight of 400 kB."""
    each = 100_000.0 * batch_size
    events = (
        Event("result", 1, each),
        Event("node", 2),
        Event("tensor", 3, each / 2),
        Event("tensor", 4, 400_000),
        Event("end", 3),
        Event("end", 1),
    )
    return Trace(events, (400_000,), (each,), ((400_000, 4),))


def test_the_peak_is_above_what_is_alive_at_once():
    trace = step(32)
    # weight, momentum, input, result, temporary, gradient
    alive = 400_000 * 3 + 3_200_000 * 2.5
    peak = heap_peak(trace, 1) - LIBRARIES_BYTES
    assert alive < peak < 2 * alive


def test_adam_keeps_another_state_and_takes_two_temporaries():
    trace = Trace(step(1).events, (4_000_000,), (100.0,), ((4_000_000, 4),))
    events = tuple(
        Event("tensor", 4, 4_000_000) if e == Event("tensor", 4, 400_000) else e
        for e in trace.events
    )
    trace = Trace(events, trace.weights_bytes, trace.inputs_bytes, trace.gradients)
    more = heap_peak(trace, 2) - heap_peak(trace, 1)
    assert more > 3 * 4_000_000


def test_the_heap_grows_over_the_first_steps_and_then_no_more():
    trace = step(32)
    peaks = [heap_peak(trace, 2, n) for n in (1, 2, 3, 24, 48)]
    assert peaks == sorted(peaks)
    assert peaks[-1] == peaks[-2]


def test_products_keep_the_buffers_of_each_that_needed_more_than_all_before_it():
    def after(*sides: tuple[int, int, int]) -> int:
        events = tuple(Event("packed", i, sides=one) for i, one in enumerate(sides))
        return heap_peak(Trace(events, (), (), ()), 1)

    small, large = (64, 300, 700), (768, 400, 2000)
    assert after(large) - after() == pytest.approx(4 * 2768 * 384, rel=0.05)
    both = after(large) + after(small) - after()
    assert after(small, large) == pytest.approx(both, rel=0.05)
    assert after(large, small) == after(large, large) == after(large)


@pytest.fixture
def glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap_peak_module, "is_glibc", lambda: True)


def traces() -> Traces:
    return ((16, step(16)), (32, step(32)))


@pytest.mark.usefixtures("glibc")
def test_a_captured_step_is_played_at_the_batch_size_that_is_asked_for():
    captured = graph(traces=traces())
    assert captured_heap_peak(captured, 100, 1) == heap_peak(step(100), 1)


@pytest.mark.usefixtures("glibc")
def test_a_heap_is_unknown_of_a_graph_without_blocks_and_of_blocks_that_do_not_match():
    assert captured_heap_peak(graph(), 100, 1) is None
    other = dataclasses.replace(step(32), events=step(32).events[1:])
    assert captured_heap_peak(graph(traces=((16, step(16)), (32, other))), 100, 1) is None


def test_a_heap_is_unknown_where_another_library_hands_out_memory(monkeypatch):
    monkeypatch.setattr(heap_peak_module, "is_glibc", lambda: False)
    assert captured_heap_peak(graph(traces=traces()), 100, 1) is None
