import pytest

from traintime.workload.step_blocks import Event, Trace, trace_at


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


def test_a_trace_at_another_batch_size_is_what_it_would_be():
    assert trace_at(100, ((16, step(16)), (32, step(32)))) == step(100)


def test_traces_of_other_blocks_do_not_make_one():
    other = Trace((Event("view", 9),), (), (), ())
    with pytest.raises(ValueError, match="other blocks"):
        trace_at(8, ((16, step(16)), (32, other)))


def test_no_block_is_less_than_nothing_far_below_the_captured_sizes():
    def falling(batch_size: int) -> Trace:
        return Trace((Event("tensor", 1, 2000.0 - 100 * batch_size),), (), (), ())

    (event,) = trace_at(40, ((4, falling(4)), (8, falling(8)))).events
    assert event.num_bytes == 0.0


def test_two_shapes_that_are_the_same_at_one_batch_size_do_not_hide_a_trace():
    def keeping(*kept: Event) -> Trace:
        return Trace((*kept, Event("tensor", 1, 100.0)), (), (), ())

    one, other = Event("kept", -1, 50.0), Event("kept", -2, 50.0)
    found = trace_at(64, ((16, keeping(one)), (32, keeping(one, other))))
    assert found.events == keeping(one, other).events


def test_the_sides_of_a_product_grow_with_the_batch():
    def product(batch_size: int) -> Trace:
        return Trace((Event("packed", 1, sides=(batch_size, 30, 10)),), (), (), ())

    (event,) = trace_at(64, ((16, product(16)), (32, product(32)))).events
    assert event.sides == (64, 30, 10)
