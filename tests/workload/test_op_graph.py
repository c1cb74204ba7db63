import pytest

from traintime.workload.op_graph import Op, OpGraph, Workload


def test_work_is_per_sample_and_once_per_step():
    op = Op("update", "optimizer", work_per_sample=3, work_fixed=100)
    assert op.work(1) == 103
    assert op.work(10) == 130


@pytest.mark.parametrize(
    ("op", "size"),
    [
        (Op("linear", "matrix product", 10.0, size=(256, 120)), (256, 120)),
        (Op("pooling", "pooling", 10.0, size=(784, 6)), (784 * 64, 6)),
        (Op("update", "optimizer", work_fixed=10.0, size=(44_426, 1)), (44_426, 1)),
    ],
)
def test_only_values_that_move_with_the_batch_grow_with_it(op: Op, size: tuple[float, ...]):
    assert op.size_at(64) == size


def test_flops_are_those_of_products_alone():
    graph = OpGraph(
        (
            Op("conv", "convolution", 5.0),
            Op("fused", "fused convolution", 7.0),
            Op("linear", "matrix product", 11.0, work_fixed=1.0),
            Op("relu", "elementwise", 1000.0),
        ),
        parameters=1,
        optimizer_slots=1,
    )
    assert graph.flops(2) == 2 * (5 + 7 + 11) + 1


@pytest.mark.parametrize(("samples", "steps"), [(256, 1), (257, 2), (57_000, 223), (1, 1)])
def test_a_short_last_batch_is_a_step(samples: int, steps: int):
    workload = Workload(OpGraph((), 0, 1), 256, 4, samples, 10, 20, 784)
    assert workload.steps_per_epoch == steps
    assert workload.resident_bytes == (samples + 30) * 784
