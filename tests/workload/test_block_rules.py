import pytest

from traintime.workload.block_rules import Call, Recording, true_bytes


def test_a_convolution_takes_its_images_in_blocks_of_16_channels_meanwhile():
    recording = Recording()
    call = Call("convolution", "forward", ((2, 24, 8, 8), (48, 24, 3, 3)))
    (result,) = recording.operation(call, [4 * 2 * 48 * 64])
    tensors = [e.num_bytes for e in recording.events if e.what in ("tensor", "result")]
    # input with 32 instead of 24 channels, weight alike, blocked output, output
    assert tensors == [4 * 2 * 32 * 64, 4 * 48 * 32 * 9, 4 * 2 * 48 * 64, 4 * 2 * 48 * 64]
    ended = {e.block for e in recording.events if e.what == "end"}
    assert result not in ended
    assert len(ended) == 4  # the three copies, and oneDNN's objects


def sizes_until_result(recording: Recording) -> list[float]:
    """What is there when the last result is made, without the result."""
    alive: dict[int, float] = {}
    for event in recording.events:
        if event.what == "result":
            break
        if event.what == "tensor":
            alive[event.block] = event.num_bytes
        elif event.what == "end":
            alive.pop(event.block, None)
    return list(alive.values())


def test_what_a_convolution_reads_is_gone_before_its_result_is_copied_into_place():
    recording = Recording()
    call = Call("convolution", "forward", ((2, 24, 8, 8), (48, 24, 3, 3)))
    recording.operation(call, [4 * 2 * 48 * 64])
    assert sizes_until_result(recording) == [4 * 2 * 48 * 64]


def test_an_image_of_few_channels_is_read_as_it_is_until_its_gradient_is_wanted():
    image, weight, gradient = (2, 12, 8, 8), (32, 12, 5, 5), (2, 32, 8, 8)
    forward, backward = Recording(), Recording()
    forward.operation(Call("convolution", "forward", (image, weight)), [4 * 2 * 32 * 64])
    call = Call("convolution_backward", "backward", (gradient, image, weight))
    backward.operation(call, [4 * 2 * 12 * 64, 4 * 32 * 12 * 25])
    taken = [e.num_bytes for e in forward.events if e.what == "tensor"]
    assert taken == [4 * 32 * 12 * 25, 4 * 2 * 32 * 64]
    # blocked: gradient, weight with 16 channels, image with 16; the image's gradient; and again
    blocked = [4 * 2 * 32 * 64, 4 * 32 * 16 * 25, 4 * 2 * 16 * 64]
    taken = [e.num_bytes for e in backward.events if e.what == "tensor"]
    assert taken[:4] == [*blocked, 4 * 2 * 12 * 64]
    assert taken[4:] == [blocked[0], blocked[2], blocked[1], 4 * 32 * 12 * 25]


def test_a_sum_is_in_place_if_its_first_term_ends_with_it():
    recording = Recording()
    (term,) = recording.operation(Call("neg", "backward"), [400])
    (total,) = recording.operation(Call("add", "backward"), [400])
    recording.summed(term, total)
    recording.end(term)
    assert recording.block_of(total) == term
    recording.end(total)
    assert [(e.what, e.block) for e in recording.events if e.block == term] == [
        ("tensor", term),
        ("end", term),
    ]


def test_a_sum_is_another_block_if_its_first_term_is_used_again():
    recording = Recording()
    (term,) = recording.operation(Call("neg", "backward"), [400])
    (total,) = recording.operation(Call("add", "backward"), [400])
    recording.summed(term, total)
    recording.operation(Call("mul", "backward"), [400])
    recording.end(term)
    assert recording.block_of(total) == total


def test_a_product_in_fp32_is_known_by_its_sides():
    recording = Recording()
    recording.operation(Call("addmm", "forward", ((10,), (7, 30), (30, 10))), [280])
    (packed,) = [e for e in recording.events if e.what == "packed"]
    assert packed.sides == (7, 30, 10)


def test_groups_of_few_channels_are_not_copied():
    recording = Recording()
    call = Call("convolution", "forward", ((2, 32, 8, 8), (32, 2, 3, 3)), groups=16)
    recording.operation(call, [4 * 2 * 32 * 64])
    assert [e.what for e in recording.events] == ["kept"] * 4 + ["node", "result"]


def test_what_libraries_keep_is_kept_once_for_a_shape():
    recording = Recording()
    half = Call("mm", "backward", ((8, 64), (64, 32)), item_bytes=2)
    for _ in range(2):
        recording.operation(half, [512])
    assert [e.what for e in recording.events] == ["kept", "tensor", "tensor"]


LAYER = Call("mkldnn_rnn_layer", "forward", ((111, 17, 296), (1184, 296), (1184, 296)))


def test_what_a_recurrent_layer_keeps_is_counted_though_fake_tensors_do_not():
    *others, kept = true_bytes(LAYER, [1000, 100, 100, 0])
    assert others == [1000, 100, 100]
    assert kept == pytest.approx(34_152_448, rel=0.02)  # measured


def test_what_is_known_to_be_kept_is_believed():
    assert true_bytes(LAYER, [1000, 100, 100, 777]) == [1000, 100, 100, 777]
    assert true_bytes(Call("mm", "forward"), [0]) == [0]


def test_what_a_recurrent_layer_keeps_is_written_to_in_parts():
    recording = Recording()
    recording.operation(LAYER, [1000, 100, 100, 777])
    (workspace,) = [e for e in recording.events if e.what == "workspace"]
    assert workspace.num_bytes == 777


def test_ends_at_one_moment_are_in_the_order_of_their_blocks():
    recording = Recording()
    blocks = recording.operation(Call("split", "backward"), [1, 2, 3])
    recording.end(blocks[1])
    recording.view()
    recording.end(blocks[2])
    recording.end(blocks[0])
    recording.sort_last_ends()
    ends = [event.block for event in recording.events if event.what == "end"]
    assert ends == [blocks[1], blocks[0], blocks[2]]
