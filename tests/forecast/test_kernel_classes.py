import dataclasses

import pytest

from traintime.forecast.kernel_classes import (
    by_winograd,
    class_name,
    misalignment,
    slow_in_nhwc,
    splits_inner,
    steps_in_turn,
)
from traintime.workload.kernels import Amount, Kernel, Sides

from .synthetic_device import kernel


def convolution(groups: int, width: int, *, role: str = "forward") -> Kernel:
    """A convolution of so many groups, each of as many channels into as many."""
    places, patch = 1e6, float(width * 3**2)
    sides = {
        "forward": (groups, places, width, patch),
        "backward": (groups, places, width, patch),
        "weight": (groups, width, patch, places),
    }[role]
    phase = "forward" if role == "forward" else "backward"
    made = kernel("grouped convolution", phase, flops=1.0)
    op = f"{made.op}.weight" if role == "weight" else made.op
    amounts = Sides(*(Amount((float(side),)) for side in sides))
    return dataclasses.replace(made, op=op, sides=amounts, window=3)


@pytest.mark.parametrize("role", ["forward", "backward", "weight"])
@pytest.mark.parametrize(
    ("groups", "width", "shape"),
    [
        (32, 4, "narrow"),
        (8, 32, "narrow"),  # 256 channels
        (4, 32, "middle"),  # few groups of few channels
        (14, 24, "middle"),
        (16, 56, "wide"),
        (2, 64, "wide"),
    ],
)
def test_grouped_convolutions_differ_by_what_cudnn_has_for_nhwc(
    groups: int, width: int, shape: str, role: str
):
    assert class_name(convolution(groups, width, role=role)).split("/")[1:] == [role, shape]


def test_groups_that_are_the_samples_of_a_batch_are_told_apart():
    one = convolution(32, 8)
    assert one.sides
    own_weights = dataclasses.replace(one.sides, batch=Amount((0.0,), (32.0,)))
    each = dataclasses.replace(one, sides=own_weights)
    assert class_name(each) == "grouped convolution/forward/samples"


def test_only_kernels_without_a_good_one_on_nhwc_are_slow_there():
    assert slow_in_nhwc("grouped convolution/forward/wide", half=True)
    assert not slow_in_nhwc("grouped convolution/forward/wide", half=False)
    assert not slow_in_nhwc("grouped convolution/forward/samples", half=True)
    assert slow_in_nhwc("layer norm/forward/groups", half=False)
    assert not slow_in_nhwc("convolution/forward/3", half=True)


def test_parts_of_channels_are_joined_slowly_in_nhwc():
    assert slow_in_nhwc("copy/backward/joined", half=True)
    assert not slow_in_nhwc("copy/backward/moved", half=True)


def test_depthwise_kernels_on_nchw_alone_do_not_split_their_sums():
    assert not splits_inner("depthwise convolution", contiguous=True)
    assert splits_inner("depthwise convolution", contiguous=False)
    assert splits_inner("convolution", contiguous=True)


def off(kernel: Kernel, rows: float, columns: float, inner: float) -> float:
    return misalignment(kernel, rows, columns, inner)


def product(**growing: float) -> Kernel:
    """A product of 64 × 64 × 64, but for sides that grow with the batch by so much a sample."""
    made = kernel("matrix product", "forward", flops=1.0)
    assert made.sides
    sides = {side: Amount((0.0,), (each,)) for side, each in growing.items()}
    return dataclasses.replace(made, sides=dataclasses.replace(made.sides, **sides))


def test_the_number_of_places_needs_no_alignment():
    forward, weight = convolution(1, 64), convolution(1, 64, role="weight")
    assert not off(forward, 49.0, 64.0, 576.0)
    assert not off(weight, 64.0, 576.0, 49.0)
    assert off(weight, 60.0, 576.0, 49.0)
    assert off(forward, 48.0, 60.0, 576.0)


def test_what_grows_with_the_batch_counts_places_however_short_it_is():
    assert not off(product(rows=197.0), 197.0, 64.0, 768.0)
    assert not off(product(inner=1.0), 64.0, 64.0, 9.0)
    assert off(product(rows=197.0), 197.0, 64.0, 60.0)
    assert off(product(inner=1.0), 60.0, 64.0, 9.0)


def test_of_a_product_that_no_batch_lets_grow_the_longer_side_counts_places():
    made = product()
    assert made.sides
    long = dataclasses.replace(made, sides=dataclasses.replace(made.sides, rows=Amount((1001.0,))))
    assert not off(long, 1001.0, 64.0, 64.0)
    assert off(long, 1001.0, 64.0, 60.0)


@pytest.mark.parametrize(
    ("side", "share"), [(64.0, 0.0), (60.0, 1 / 3), (50.0, 2 / 3), (49.0, 1.0), (3.0, 0.0)]
)
def test_fewer_values_in_a_load_are_further_from_alignment(side: float, share: float):
    assert off(product(rows=1.0), 64.0, side, 64.0) == pytest.approx(share)


def test_a_convolution_pads_channels_that_do_not_fill_a_load_however_many_are_missing():
    forward = convolution(1, 64)
    assert off(forward, 1e6, 60.0, 576.0) == 1.0
    assert off(forward, 1e6, 57.0, 576.0) == 1.0


def test_full_fp32_has_winograds_algorithm_for_windows_of_three():
    assert by_winograd("convolution/backward/3")
    assert not by_winograd("convolution/forward/5")
    assert not by_winograd("depthwise convolution/forward")


def test_steps_of_a_recurrent_network_wait_for_each_other_and_products_of_a_batch_do_not():
    assert steps_in_turn("recurrent", 35.0) == 35.0
    assert steps_in_turn("batched product", 35.0) == 1.0


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("aten._to_copy", "copy/forward"),
        ("aten.cat", "copy/forward/joined"),
        ("aten.clone", "copy/forward/moved"),
    ],
)
def test_copies_that_convert_join_or_move_values_are_told_apart(op: str, name: str):
    assert class_name(dataclasses.replace(kernel("copy", "forward"), op=op)) == name
