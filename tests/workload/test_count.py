import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from traintime.architecture import NETWORKS, network_for
from traintime.models.build import build
from traintime.recipe import read_recipe
from traintime.workload.count import count_operations
from traintime.workload.op_graph import Op, OpGraph

GREY, COLOUR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)


def graph(model: str, shape=GREY, fused: bool = False, **fields: object) -> OpGraph:
    recipe = read_recipe(data="mnist", model=model, **{"optimizer": "sgd", **fields})
    return count_operations(network_for(recipe, shape, 10), recipe, fused=fused)


def named(ops: OpGraph, name: str) -> Op:
    (found,) = [op for op in ops.ops if op.name == name]
    return found


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("shape", [GREY, COLOUR, DIGITS])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_products_of_a_step_are_those_that_torch_counts(model, shape, batch_norm):
    recipe = read_recipe(data="mnist", model=model, optimizer="sgd", batch_norm=batch_norm)
    network = network_for(recipe, shape, 10)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        scores = build(network)(torch.empty(4, *shape))
        F.cross_entropy(scores, torch.empty(4, dtype=torch.long)).backward()
    assert count_operations(network, recipe, fused=False).flops(4) == counter.get_total_flops()


def test_lenets_products_by_hand():
    first, second = 2 * 25 * 6 * 28 * 28, 2 * 150 * 16 * 10 * 10
    linear = 2 * (400 * 120 + 120 * 84 + 84 * 10)
    # the images need no gradient, so the first convolution has one product less
    assert graph("lenet").flops(1) == 2 * first + 3 * second + 3 * linear


def test_a_batch_takes_as_many_times_the_products_as_it_has_samples():
    lenet = graph("lenet")
    assert lenet.flops(256) == 256 * lenet.flops(1)


@pytest.mark.parametrize(
    ("fields", "values", "slots"),
    [
        ({"optimizer": "sgd"}, 9, 1),
        ({"optimizer": "adam"}, 17, 2),
        ({"optimizer": "adamw"}, 17, 2),
        ({"optimizer": "muon"}, 11, 2),
        ({"optimizer": "sgd", "ema": 0.99}, 12, 1),
        ({"optimizer": "sgd", "grad_clip": 1}, 11, 1),
        ({"optimizer": "sgd", "l1": 1e-4, "l2": 1e-4}, 13, 1),
    ],
)
def test_an_update_moves_so_many_values_of_each_parameter(fields, values, slots):
    mlp = graph("mlp", **fields)
    update = named(mlp, f"{fields['optimizer']} update")
    assert (update.work_per_sample, update.work_fixed) == (0, values * 101_770)
    assert (mlp.parameters, mlp.optimizer_slots) == (101_770, slots)


def test_muon_orthogonalises_each_weight_matrix_once_a_step():
    lenet = graph("lenet", optimizer="muon", muon_iterations=3)
    names = [op.name for op in lenet.ops if op.name.startswith("orthogonalise")]
    assert names == [f"orthogonalise {shape}" for shape in
                     ("6×25", "16×150", "120×400", "84×120", "10×84")]  # fmt: skip
    # three times: 6×25 by 25×6, the 6×6 squared, and 6×6 by 6×25
    one = named(lenet, "orthogonalise 6×25")
    assert one.work_fixed == 3 * (2 * 6 * 6 * 25 + 2 * 6**3 + 2 * 6 * 6 * 25)
    assert one.work(1) == one.work(512)


def test_muon_reaches_the_matrices_inside_residuals():
    plain, muon = graph("resnet18", COLOUR), graph("resnet18", COLOUR, optimizer="muon")
    assert len(muon.ops) - len(plain.ops) == 21  # 20 convolutions and the linear layer


@pytest.mark.parametrize("model", NETWORKS)
def test_fused_products_appear_only_when_they_are_asked_for(model):
    assert "fused convolution" not in {op.kind for op in graph(model).ops}


def test_a_fused_convolution_multiplies_its_zeros_too():
    fused = graph("lenet", fused=True)
    first, second = [op for op in fused.ops if op.kind == "fused convolution"]
    # at each of 14×14 places 6·6 values by 4·6 kernels; then at 5×5 places 6·6·6 by 4·16
    assert first.size == (36, 24)
    assert first.work_per_sample == 2 * (2 * 14 * 14 * 36 * 24)
    assert second.work_per_sample == 3 * (2 * 5 * 5 * 216 * 64)
    assert not {"convolution", "pooling"} & {op.kind for op in fused.ops}
    assert fused.flops(1) > graph("lenet").flops(1)


def test_a_network_that_cannot_be_fused_is_counted_as_it_is():
    assert graph("resnet18", COLOUR, fused=True) == graph("resnet18", COLOUR)


def test_the_forward_is_a_third_of_a_layer_and_half_of_the_first():
    linears = [op for op in graph("mlp").ops if op.kind == "matrix product"]
    assert [op.forward_share for op in linears] == [1 / 2, 1 / 3]


def test_each_augmentation_moves_the_images_twice_more():
    plain = named(graph("lenet"), "batch from memory")
    both = named(graph("lenet", flip=True, crop=2), "batch from memory")
    assert plain.work_per_sample == 784
    assert both.work_per_sample == 5 * 784


@pytest.mark.parametrize(("fields", "name"), [({"dropout": 0.2}, "dropout"), ({}, "relu")])
def test_what_is_no_product_is_counted_in_values_moved(fields, name):
    ops = [op for op in graph("mlp", **fields).ops if op.name == name]
    assert [op.size_at(1) for op in ops] == [(128.0, 1.0)]
    assert graph("mlp", **fields).flops(1) == graph("mlp").flops(1)
