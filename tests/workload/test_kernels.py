import json

import pytest

from traintime.workload.kernels import (
    KINDS,
    PRODUCT_KINDS,
    TRAFFIC_KINDS,
    Amount,
    Kernel,
    KernelGraph,
    Sides,
    fit_amount,
    merge_alike,
)

ONE = Amount((1.0,), (0.0,))


def kernel(kind: str = "matrix product", flops: Amount = ONE, **fields: object) -> Kernel:
    given = {
        "op": "aten.mm",
        "phase": "forward",
        "where": "fc",
        "count": 1,
        "half": False,
        "bytes_read": Amount((100.0, 0.0, 0.0), (4.0, 8.0, 0.0)),
        "bytes_written": Amount((0.0,), (4.0,)),
        **fields,
    }
    return Kernel(kind=kind, flops=flops, **given)


def graph(*kernels: Kernel, **fields: object) -> KernelGraph:
    given = {
        "model": "tiny",
        "source": "a test",
        "numerics": "fp32",
        "num_calls": 3,
        "parameters": 10,
        "parameter_tensors": 2,
        "buffers_bytes": 0,
        "kept_bytes": Amount((0.0,), (512.0,)),
        "peak_bytes": Amount((1024.0,), (768.0,)),
        "input_shape": (3, 8, 8),
        "size_unit": "pixels",
        "unknown": ("mylib.twice",),
        **fields,
    }
    return KernelGraph(kernels=kernels, **given)


def test_every_kind_is_a_product_or_traffic():
    assert not set(PRODUCT_KINDS) & set(TRAFFIC_KINDS)
    assert set(KINDS) == set(PRODUCT_KINDS) | set(TRAFFIC_KINDS)


@pytest.mark.parametrize(
    ("batch", "size", "value"),
    [(0, 1.0, 111), (1, 1.0, 111 + 7), (10, 2.0, 100 + 2 * 10 + 4 * 1 + 10 * (1 + 2 * 2 + 4 * 4))],
)
def test_an_amount_is_affine_in_the_batch_and_quadratic_in_the_size(batch, size, value):
    assert Amount((100.0, 10.0, 1.0), (1.0, 2.0, 4.0)).at(batch, size) == value


def test_an_amount_never_falls_below_zero():
    assert Amount((-10.0,), (1.0,)).at(4) == 0


def test_a_fit_goes_through_what_it_was_given():
    values = {(b, u): 5 + 3 * u + b * (2 + u * u) for b in (16, 32) for u in (0.25, 1.0, 2.0)}
    amount = fit_amount(values)
    assert amount.fixed == pytest.approx((5, 3, 0), abs=1e-9)
    assert amount.per_sample == pytest.approx((2, 0, 1), abs=1e-9)
    assert amount.at(7, 3.0) == pytest.approx(5 + 9 + 7 * 11)


def test_a_fit_at_one_size_holds_for_it_alone():
    assert fit_amount({(16, 1.0): 26.0, (32, 1.0): 42.0}) == Amount((10.0,), (1.0,))


def test_rounding_of_a_fit_leaves_no_crumbs():
    values = {(b, u): 0.1 * b * u for b in (16, 32) for u in (0.3, 1.0, 1.7)}
    assert fit_amount(values).per_sample[0] == fit_amount(values).per_sample[2] == 0


def test_kernels_alike_are_counted_and_keep_the_first_place():
    merged = merge_alike(
        [kernel(where="a"), kernel(where="b", count=2), kernel(where="c", half=True)]
    )
    assert [(one.where, one.count, one.half) for one in merged] == [
        ("a", 3, False),
        ("c", 1, True),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"op": "aten.addmm"},
        {"kind": "softmax"},
        {"phase": "backward"},
        {"flops": Amount((2.0,), (0.0,))},
        {"bytes_read": Amount((2.0,), (0.0,))},
        {"bytes_written": Amount((2.0,), (0.0,))},
        {"sides": Sides(ONE, ONE, ONE, ONE)},
        {"window": 3},
        {"stride": 2},
    ],
)
def test_kernels_that_differ_are_not_merged(other):
    assert len(merge_alike([kernel(), kernel(**other)])) == 2


def test_flops_are_those_of_products_alone_and_of_each_alike():
    per_sample = Amount((1.0,), (10.0,))
    of = graph(kernel(flops=per_sample, count=3), kernel("elementwise", per_sample))
    assert of.flops(2) == 3 * 21


def test_a_graph_comes_back_from_json_as_it_was():
    sides = Sides(ONE, Amount((0.0, 0.0, 0.0), (0.0, 49.0, 0.0)), ONE, ONE)
    before = graph(kernel(sides=sides, window=3, stride=2), kernel("copy", half=True, count=4))
    after = KernelGraph.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before


def test_json_without_a_field_is_refused():
    values = graph(kernel()).to_json()
    del values["kernels"]
    with pytest.raises(KeyError):
        KernelGraph.from_json(values)
