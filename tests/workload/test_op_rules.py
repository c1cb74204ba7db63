import math

import pytest
import torch

from traintime.workload.kernels import KINDS, PRODUCT_KINDS
from traintime.workload.op_kinds import KIND_OF
from traintime.workload.op_rules import RULES, Counted, count_op, is_view

aten = torch.ops.aten


@torch.library.custom_op("traintime_tests::mm", mutates_args=())
def mm_of_another(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@mm_of_another.register_fake
def _(x):
    return torch.empty_like(x)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def ids(*shape: int) -> torch.Tensor:
    return meta(*shape, dtype=torch.long)


def count(func, *args, **kwargs) -> tuple[Counted, ...]:
    return count_op(func, args, kwargs, func(*args, **kwargs)).kernels


def one(func, *args, **kwargs) -> Counted:
    (kernel,) = count(func, *args, **kwargs)
    return kernel


def moved(func, *args, **kwargs) -> tuple[float, float]:
    kernel = one(func, *args, **kwargs)
    return kernel.bytes_read, kernel.bytes_written


def test_every_kind_that_is_given_is_known():
    assert set(KIND_OF.values()) <= set(KINDS)


def test_a_product_by_hand():
    kernel = one(aten.mm.default, meta(5, 7), meta(7, 11))
    assert kernel.sides == (1, 5, 11, 7)
    assert kernel.flops == 2 * 5 * 7 * 11
    assert (kernel.bytes_read, kernel.bytes_written) == (4 * (35 + 77), 4 * 55)


@pytest.mark.parametrize(
    ("func", "args", "sides"),
    [
        (aten.addmm.default, ((11,), (5, 7), (7, 11)), (1, 5, 11, 7)),
        (aten.mv.default, ((5, 7), (7,)), (1, 5, 1, 7)),
        (aten.dot.default, ((7,), (7,)), (1, 1, 1, 7)),
        (aten.addmv.default, ((5,), (5, 7), (7,)), (1, 5, 1, 7)),
        (aten.bmm.default, ((3, 5, 7), (3, 7, 11)), (3, 5, 11, 7)),
        (aten.baddbmm.default, ((3, 5, 11), (3, 5, 7), (3, 7, 11)), (3, 5, 11, 7)),
    ],
)
def test_sides_of_products(func, args, sides):
    kernel = one(func, *(meta(*shape) for shape in args))
    assert kernel.sides == sides
    assert kernel.flops == 2 * math.prod(sides)
    assert kernel.kind in PRODUCT_KINDS


def conv(x, weight, bias=None, stride=1, groups=1, transposed=False):
    two = [1, 1]
    call = (x, weight, bias, [stride] * 2, [0, 0], two, transposed, [0, 0], groups)
    return count(aten.convolution.default, *call)


@pytest.mark.parametrize(
    ("weight", "groups", "kind", "sides"),
    [
        ((16, 8, 3, 3), 1, "convolution", (1, 2 * 36, 16, 8 * 9)),
        ((16, 8, 1, 1), 1, "1×1 convolution", (1, 2 * 64, 16, 8)),
        ((16, 4, 3, 3), 2, "grouped convolution", (2, 2 * 36, 8, 4 * 9)),
        ((8, 1, 3, 3), 8, "depthwise convolution", (8, 2 * 36, 1, 9)),
    ],
)
def test_kinds_and_sides_of_convolutions(weight, groups, kind, sides):
    (kernel,) = conv(meta(2, 8, 8, 8), meta(*weight), groups=groups)
    assert (kernel.kind, kernel.sides) == (kind, sides)
    assert kernel.flops == 2 * math.prod(sides)
    assert (kernel.window, kernel.stride) == (weight[-1], 1)


def test_the_bias_of_a_convolution_is_a_pass_of_its_own():
    product, adding = conv(meta(2, 8, 8, 8), meta(16, 8, 3, 3), meta(16))
    out = 4 * 2 * 16 * 36
    assert (product.bytes_read, product.bytes_written) == (4 * (2 * 8 * 64 + 16 * 72), out)
    assert (adding.kind, adding.flops) == ("elementwise", 0)
    assert (adding.bytes_read, adding.bytes_written) == (out + 64, out)


def test_a_transposed_convolution_is_the_gradient_of_another():
    # (2, 8, 8, 8) -> (2, 16, 16, 16): the gradient of one from 16 channels to 8 with stride 2
    (kernel,) = conv(meta(2, 8, 8, 8), meta(8, 16, 2, 2), stride=2, transposed=True)
    assert kernel.flops == 2 * (2 * 64) * 8 * (16 * 4)
    assert kernel.sides == (1, 2 * 256, 16, 8 * 4)


def test_gradients_of_a_convolution_are_kernels_of_their_own():
    grad, x, weight = meta(2, 16, 6, 6), meta(2, 8, 8, 8), meta(16, 8, 3, 3)
    geometry = ([16], [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    call = aten.convolution_backward.default, grad, x, weight, *geometry
    into, of_weight, of_bias = count(*call, [True, True, True])
    assert into.flops == of_weight.flops == 2 * 2 * 36 * 16 * 72
    assert of_weight.sides == (1, 16, 72, 72)
    assert (of_bias.kind, of_bias.flops) == ("reduction", 0)
    assert [k.op for k in count(*call, [False, True, False])] == [
        "aten.convolution_backward.weight"
    ]


@pytest.mark.parametrize(("backward", "inners"), [(False, (64, 32)), (True, (3 * 64, 2 * 32))])
def test_attention_is_two_products_and_five_in_the_backward(backward, inners):
    q, k, v = meta(2, 4, 10, 64), meta(2, 4, 30, 64), meta(2, 4, 30, 32)
    result = meta(2, 4, 10, 32)
    func = aten._scaled_dot_product_efficient_attention
    func = aten._scaled_dot_product_efficient_attention_backward if backward else func
    args = (result, q, k, v) if backward else (q, k, v)
    (kernel,) = count_op(func.default, args, {}, result).kernels
    assert kernel.kind == "attention"
    assert kernel.flops == 2 * (2 * 4) * 10 * 30 * sum(inners)


def test_looking_something_up_reads_what_it_returns_and_not_the_whole_table():
    table, which = meta(30_000, 64), ids(8, 16)
    assert moved(aten.embedding.default, table, which) == (4 * 128 * 64 + 8 * 128, 4 * 128 * 64)
    rows = one(aten.index.Tensor, meta(1000, 64), [ids(10)])
    assert (rows.kind, rows.bytes_read) == ("lookup", 4 * 10 * 64 + 80)


def test_writing_into_a_few_rows_does_not_write_the_whole_table():
    table = meta(1000, 64)
    assert moved(aten.index_put_.default, table, [ids(10)], meta(10, 64)) == (2640, 2640)


def test_the_gradient_of_a_table_is_written_whole():
    gradient = one(aten.embedding_dense_backward.default, meta(8, 64), ids(8), 1000, -1, False)
    assert gradient.bytes_written == 4 * 1000 * 64


@pytest.mark.parametrize(
    ("func", "args", "read"),
    [
        (aten.copy_.default, (meta(100), meta(100)), 400),
        (aten.copy_.default, (meta(100), meta(100, dtype=torch.bfloat16)), 200),
        (aten.zeros_like.default, (meta(100),), 0),
        (aten.fill_.Scalar, (meta(100), 1.0), 0),
        (aten.add_.Tensor, (meta(100), meta(100)), 800),
        (aten.add.Tensor, (meta(100), meta(1).expand(100)), 404),
    ],
)
def test_what_is_only_written_is_not_read_and_what_repeats_is_read_once(func, args, read):
    assert moved(func, *args) == (read, 400)


def test_the_loss_reads_one_score_of_each_sample():
    scores = meta(16, 1000)
    loss = one(aten.nll_loss_forward.default, scores, ids(16), None, 1, -100)
    assert loss.bytes_read < 4 * 16 * 3 + 8 * 16


@pytest.mark.parametrize(
    ("func", "args", "kind"),
    [
        (aten.relu.default, (meta(4),), "elementwise"),
        (aten.native_dropout.default, (meta(4), 0.1, True), "elementwise"),
        (aten._softmax.default, (meta(4, 4), 1, False), "softmax"),
        (aten.native_layer_norm.default, (meta(4, 4), [4], None, None, 1e-5), "layer norm"),
        (aten.cat.default, ([meta(4), meta(4)],), "copy"),
        (aten.sum.default, (meta(4),), "reduction"),
        (aten.cumprod.default, (meta(4), 0), "reduction"),
        (aten.hardswish_backward.default, (meta(4), meta(4)), "elementwise"),
        (aten.mse_loss.default, (meta(4), meta(4)), "reduction"),
        (aten.replication_pad2d.default, (meta(1, 4, 4), (1, 1, 1, 1)), "copy"),
        (aten.renorm.default, (meta(4, 4), 2.0, 0, 1.0), "other"),
    ],
)
def test_kinds(func, args, kind):
    counted = count_op(func, args, {}, func(*args))
    assert [kernel.kind for kernel in counted.kernels] == [kind]
    assert not counted.unknown


def test_what_turns_a_tensor_in_place_moves_nothing():
    assert count_op(aten.transpose_.default, (meta(4, 2), 0, 1), {}, meta(2, 4)).kernels == ()


@pytest.mark.parametrize(
    ("func", "free"),
    [
        (aten.view.default, True),
        (aten.expand.default, True),
        (aten.split.Tensor, True),
        (aten.detach.default, True),
        (aten.empty_like.default, True),
        (aten.relu_.default, False),
        (aten.clone.default, False),
        (aten.mm.default, False),
    ],
)
def test_views_cost_nothing(func, free):
    assert is_view(func) is free


def test_another_librarys_operation_is_counted_in_bytes_and_said_to_be_unknown():
    x = meta(100)
    counted = count_op(torch.ops.traintime_tests.mm.default, (x,), {}, meta(100))
    assert counted.unknown
    assert counted.kernels == (Counted("traintime_tests.mm", "other", 0.0, 400.0, 400.0),)


def test_a_product_without_a_rule_is_said_to_be_unknown():
    counted = count_op(aten.linalg_inv_ex.default, (meta(4, 4),), {}, meta(4, 4))
    assert counted.unknown


def test_16_bits_are_seen_in_what_is_returned():
    half = meta(4, 4, dtype=torch.bfloat16)
    assert one(aten.mm.default, half, half).half
    assert not one(aten._to_copy.default, half, dtype=torch.float32).half


def test_groups_of_rows_with_a_matrix_each_are_one_product_of_all_rows():
    a, b = meta(24, 16, dtype=torch.bfloat16), meta(3, 16, 32, dtype=torch.bfloat16)
    out = meta(24, 32, dtype=torch.bfloat16)
    (kernel,) = RULES["_grouped_mm"]("aten._grouped_mm", (a, b), out, 0.0, 0.0)
    assert kernel.flops == 2 * 24 * 16 * 32
