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
